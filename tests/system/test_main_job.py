# SPDX-License-Identifier: MIT
"""A short form of the main job: real camera driver, DMA jobs and locks. No times asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(120)

FRAMES, ROUNDS = 24, 100


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the job has filled."""
    folder = tmp_path_factory.mktemp("main_job")
    command = [sys.executable, "-m", "dmabuf_sync.demo", "--output", str(folder)]
    command += [f"--frames={FRAMES}", f"--rounds={ROUNDS}", "--width=320", "--height=180"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def results(output: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((output / "results.json").read_text())
    return data


@pytest.mark.parametrize("way", ["conventional", "locked"])
def test_every_frame_is_whole_with_locks(results: dict[str, Any], way: str) -> None:
    run = results["pipeline"][way]
    assert (run["frames"], run["torn"], run["stale"]) == (FRAMES, 0, 0)


def test_tearing_is_found_without_synchronisation(results: dict[str, Any]) -> None:
    assert results["pipeline"]["unsynchronised"]["torn"] > 0


def test_tangle_does_not_deadlock(results: dict[str, Any]) -> None:
    assert results["deadlock"]["rounds"] == ROUNDS
    assert results["deadlock"]["counted"] == 2 * ROUNDS


def test_lock_of_a_killed_process_goes_on_in_order(results: dict[str, Any]) -> None:
    assert [heir["place"] for heir in results["crash"]["heirs"]] == [1, 2, 3]


@pytest.mark.parametrize("name", ["frame.png", "torn.png", "timeline.png"])
def test_pictures_are_saved(output: Path, name: str) -> None:
    assert (output / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_timeline_shows_work_and_waits_in_every_lane(output: Path) -> None:
    one, other = json.loads((output / "timeline.json").read_text())
    for timeline in (one, other):
        work = [span for span in timeline["spans"] if not span["waiting"]]
        assert {span["lane"] for span in work} == {"camera", "DMA", "CPU"}
        assert len(work) == 3 * FRAMES
    waits = {span["lane"] for span in other["spans"] if span["waiting"]}
    assert waits == {"camera", "DMA", "CPU"}
