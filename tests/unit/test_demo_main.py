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
