# SPDX-License-Identifier: MIT
# What a program does to buffers, as a picture: who had which one when, who waited, and for whom.
# Needs root, for the kernel's tracepoints. From a shell, `dmabuf-sync record`, `timeline` and
# `report` do this, and more.
"""A timeline of a program: python3 timeline.py [PICTURE.svg [PROGRAM ...]]."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dmabuf_sync.trace import history_of, load, picture
from dmabuf_sync.trace.capture import INTERVAL, Capture

EXAMPLE = Path(__file__).with_name("handover.py")


def record(path: str, command: list[str]) -> int:
    """Run a program, and record into a file what happens to buffers meanwhile."""
    with Capture(path, command, buffer_kb=1024) as capture:
        program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while program.poll() is None:
            capture.pump()
            time.sleep(INTERVAL)
        capture.finish(program.returncode)
        return program.returncode


def main(target: str = "timeline.svg", *command: str) -> int:
    with tempfile.NamedTemporaryFile(suffix=".dsync") as file:
        status = record(file.name, list(command) or [sys.executable, str(EXAMPLE)])
        recording = load(file.name)
    history = history_of(recording.events)
    for request in history.requests:
        blocker = request.last.blocker if request.has_waited else None
        if blocker:
            milliseconds = request.waited / 1e6
            print(f"{request.comm} [{request.pid}] waited {milliseconds:.1f} ms for {blocker.mode}")
    print(f"{len(history.uses)} uses of buffers, {len(history.jobs)} DMA jobs")
    picture.save(recording, history, target)
    print(f"saved {target}")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
