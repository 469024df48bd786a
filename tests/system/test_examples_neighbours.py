# SPDX-License-Identifier: MIT
"""The examples beside real drivers: they say themselves whether every picture was whole."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples" / "neighbours"


def run(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> tuple[int, str]:
    """Exit status and what it printed. It runs in this process, which saves its start."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    status = module.main(options)
    return status, capsys.readouterr().out


def number(text: str, what: str) -> int:
    found = re.search(rf"(\d+) {what}", text)
    assert found, text
    return int(found[1])


def test_relay_goes_on_whoever_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "relay", "--frames", "4", "--rounds", "1")
    assert number(text, "torn") == 0
    assert text.count(" go on") == 3
    assert number(text, "display") > 20
    assert status == 0


def test_relay_without_the_cameras_locks_is_torn(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "relay", "--frames", "20", "--rounds", "0", "--no-locks")
    assert number(text, "torn") > 0
    assert status == 1


@pytest.mark.timeout(400)
def test_many_kills(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "relay", "--rounds", "20")
    assert number(text, "torn") == 0
    assert status == 0


@pytest.mark.parametrize("display", ["virtio", "bochs"])
def test_camera_pictures_on_a_kms_display(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, display: str
) -> None:
    picture = tmp_path / "display.png"
    status, text = run(
        capsys, "kms", "--display", display, "--frames", "2", "--output", str(picture)
    )
    if status == 77:
        pytest.skip(text.strip())
    assert number(text, "not as they were drawn") == 0
    assert status == 0
    assert picture.stat().st_size > 1000
