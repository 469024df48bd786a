# SPDX-License-Identifier: MIT
"""dmabuf-sync timeline, where it cannot write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dmabuf_sync.command.main import main

RECORDING = Path(__file__).with_name("waiters.dsync")
SUFFIXES = ("svg", "png", "pftrace")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    output = tmp_path / "there" / "is" / f"none.{suffix}"
    assert main(["timeline", str(RECORDING), "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"dmabuf-sync: {output}: No such file or directory\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    output = tmp_path / f"full.{suffix}"
    os.symlink("/dev/full", output)
    assert main(["timeline", str(RECORDING), "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"dmabuf-sync: {output}: No space left on device\n"


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "run.svg"
    assert main(["timeline", str(RECORDING), "-o", str(output)]) == 1
    assert capsys.readouterr().err == f"dmabuf-sync: {output}: Not a directory\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_are_chosen_by_users(tmp_path: Path, suffix: str) -> None:
    path, output = tmp_path / "run.dsync", tmp_path / f"run.{suffix}"
    path.write_text(RECORDING.read_text().replace('"frame"', '"a\\n\\u001b\\u0000<&"'))
    assert main(["timeline", str(path), "-o", str(output)]) == 0
    assert output.stat().st_size > 1000
