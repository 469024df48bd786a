# SPDX-License-Identifier: MIT
"""bench and stress, short."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time

import pytest

from dmabuf_sync import Exporter
from dmabuf_sync.trace import Recorder
from dmabuf_sync.trace.live import Checker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COMMAND = [sys.executable, "-m", "dmabuf_sync"]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=110)
    assert "Traceback" not in done.stderr
    return done


def test_stress_finds_nothing_and_does_everything() -> None:
    done = call("stress", "--seconds=3", "--seed=5", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["problems"] == []
    for name in ("one", "nested", "set", "jobs", "kills"):
        assert outcome["counts"][name] > 0, outcome["counts"]
    for name in ("after waiting", "shared", "cancel", "hold", "job_end"):
        assert outcome["events"][name] > 0, outcome["events"]


def test_unprivileged_stress_does_without_the_replay() -> None:
    done = subprocess.run(
        [*COMMAND, "stress", "--seconds=0.5"], user=65534, capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    # It is the devices that it may not open; to do without the replay would not help.
    assert "only root may open /dev/vdmabuf" in done.stderr
    assert "--no-replay" not in done.stderr


def test_checker_finds_what_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that loses a release, as a kernel that forgets it would."""
    honest = Recorder.drain

    def forgetful(recorder: Recorder) -> bytes:
        lines = honest(recorder).splitlines(keepends=True)
        return b"".join(line for line in lines if b"_release: " not in line)

    monkeypatch.setattr(Recorder, "drain", forgetful)
    monkeypatch.setattr("dmabuf_sync.trace.live._PATIENCE", 0)
    with Exporter() as exporter, exporter.allocate(4096) as buffer:
        with Checker([buffer.info().inode]) as checker:
            fcntl.lockf(buffer, fcntl.LOCK_EX)
            fcntl.lockf(buffer, fcntl.LOCK_UN)
            checker.finish()
        assert checker.problems


def test_checker_leaves_others_alone() -> None:
    with Exporter() as exporter, exporter.allocate(4096) as ours, exporter.allocate(4096) as other:
        fcntl.lockf(other, fcntl.LOCK_EX)
        with Checker([ours.info().inode]) as checker:
            fcntl.lockf(other, fcntl.LOCK_UN)
            fcntl.lockf(ours, fcntl.LOCK_EX)
            fcntl.lockf(ours, fcntl.LOCK_UN)
            while not checker.counts["release"]:
                assert checker.check()
                time.sleep(0.1)
                fcntl.lockf(ours, fcntl.LOCK_EX)
                fcntl.lockf(ours, fcntl.LOCK_UN)
            checker.finish()
        assert checker.problems == []


def test_bench_measures_every_group() -> None:
    done = call("bench", "--rounds=1", "--scale=0.02", "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["group"] for row in rows}) == 5
    assert all(row["ns"] > 0 and row["ratio"] > 0 for row in rows)
