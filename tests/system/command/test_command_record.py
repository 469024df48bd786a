# SPDX-License-Identifier: MIT
"""A program is recorded, drawn and reported; recordings that end otherwise than planned."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from actors import until

from dmabuf_sync.command.main import main
from dmabuf_sync.trace import Recorder, load
from dmabuf_sync.trace.tracefs import TRACEFS

CONTEND = Path(__file__).with_name("contend.py")
COMMAND = [sys.executable, "-m", "dmabuf_sync"]


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def call(*words: object, status: int = 0) -> Done:
    """Run a command in this process: a Python that starts anew takes its time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        got = main([str(word) for word in words])
    done = Done(out.getvalue(), err.getvalue())
    assert got == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@contextlib.contextmanager
def recorder(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process that records; killed if a test leaves it."""
    words = [*COMMAND, "record", *options, "-o", str(path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(path.exists, "the beginning")
            yield process
        finally:
            process.kill()


def instances() -> list[str]:
    return [folder.name for folder in (TRACEFS / "instances").iterdir()]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of contend.py, made by the command."""
    path = tmp_path_factory.mktemp("record") / "run.dsync"
    call("record", "-o", path, "--", sys.executable, CONTEND)
    return path


@pytest.fixture(scope="module")
def told(recording: Path) -> dict[str, list[dict[str, Any]]]:
    """What report says, by the type of its objects."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in call("report", "--json", recording).stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record)
    return found


def test_recording_is_whole_and_names_its_buffers(recording: Path) -> None:
    loaded = load(recording)
    assert loaded.complete
    assert loaded.lost == 0
    assert loaded.start["command"] == [sys.executable, str(CONTEND)]
    assert {buffer.name for buffer in loaded.buffers.values()} == {"frame", "copy"}
    assert {buffer.exporter for buffer in loaded.buffers.values()} == {"vdmabuf"}


def test_report_follows_the_chain_of_waiters(told: dict[str, list[dict[str, Any]]]) -> None:
    wait = next(wait for wait in told["wait"] if wait["process"].startswith("preview"))
    assert (wait["mode"], wait["buffer"]) == ("W", "copy")
    links = [(link["process"].split()[0], link["buffer"]) for link in wait["chain"]]
    assert links == [("encoder", "copy"), ("camera", "frame")]
    assert wait["waited_ns"] > 30_000_000  # two sleeps; a promise, not a measurement


def test_report_tells_of_the_deadlock_and_of_the_revoked_hold(
    told: dict[str, list[dict[str, Any]]],
) -> None:
    incidents = [(row["what"], row["process"].split()[0]) for row in told["incident"]]
    assert incidents == [("deadlock", "encoder"), ("revoked", "camera")]
    assert told["incident"][1]["held_ns"] >= 20_000_000


def test_report_counts_the_job(told: dict[str, list[dict[str, Any]]]) -> None:
    (device,) = told["device"]
    assert (device["device"], device["jobs"], device["failed"]) == ("vblit", 1, 0)
    assert device["waits"]["count"] == 1


def test_report_for_people(recording: Path) -> None:
    text = call("report", recording).stdout
    for words in ("camera", "encoder", "preview", "deadlock", "revoked", "vblit", "←"):
        assert words in text


@pytest.mark.parametrize("suffix", ["pftrace", "png", "svg"])
def test_timeline(recording: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"run.{suffix}"
    call("timeline", recording, "-o", path)
    begin = {"pftrace": b"\x0a", "png": b"\x89PNG", "svg": b"<svg"}[suffix]
    assert path.read_bytes().startswith(begin)


def test_status_of_the_command_is_the_status(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync.gz"
    script = "import sys; sys.exit(7)"
    done = call("record", "--json", "-o", path, "--", sys.executable, "-c", script, status=7)
    assert json.loads(done.stdout)["status"] == 7
    assert load(path).end["status"] == 7
    call("report", path, status=1)  # nothing happened
    call("record", "-o", path, "--", "/does/not/exist", status=127)


def test_ctrl_c_ends_a_recording_well(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync"
    with recorder(path) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert load(path).complete
    assert instances() == []


def test_killed_recording_can_be_read_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync.gz"
    with recorder(path) as process:
        subprocess.run([sys.executable, CONTEND], check=True, stdout=subprocess.DEVNULL)
        time.sleep(0.2)
        process.kill()
    loaded = load(path)
    assert not loaded.complete
    assert loaded.events
    assert "was cut short" in call("report", path).stderr
    assert len(instances()) == 1
    with Recorder():
        assert instances() == [f"dmabuf_sync_{os.getpid()}_{instances()[0].split('_')[-1]}"]


def test_lost_events_are_told(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync"
    with recorder(path, "--buffer-size=64") as process:
        process.send_signal(signal.SIGSTOP)
        script = (
            "import fcntl\nfrom dmabuf_sync import Exporter\n"
            "with Exporter() as e, e.allocate(4096) as b:\n"
            "    for _ in range(400):\n"
            "        fcntl.lockf(b, 2)\n        fcntl.lockf(b, 8)\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert "events were lost" in said
    assert load(path).lost > 0


def test_unprivileged_user_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync"
    words = [*COMMAND, "record", "-o", str(path)]
    done = subprocess.run(words, user=65534, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr
    assert not path.exists()
