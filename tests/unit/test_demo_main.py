# SPDX-License-Identifier: MIT
"""The command line of the main job, as far as it comes without the kernel modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmabuf_sync.demo.__main__ import main


def test_failure_is_one_line_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file" / "folder")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dmabuf_sync.demo: ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--output", "x", "--frames=1"], ["--output", "x", "--rounds=0"], ["--frames", "many"]],
)
def test_bad_arguments_end_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert not list(tmp_path.iterdir())


def test_spoilt_result_is_one_line_and_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoilt(_options: object, problems: list[str]) -> dict[str, object]:
        problems.append("3 of 10 frames spoilt with locks")
        return {}

    def fine(*_: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr("dmabuf_sync.demo.__main__._pipelines", spoilt)
    monkeypatch.setattr("dmabuf_sync.demo.__main__._deadlock", fine)
    monkeypatch.setattr("dmabuf_sync.demo.__main__._crash", fine)
    assert main(["--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "dmabuf_sync.demo: 3 of 10 frames spoilt with locks\n"
    assert "3 of 10" in (tmp_path / "results.json").read_text()
