# SPDX-License-Identifier: MIT
# What a program does to buffers, as a picture: who had which one when, who waited, and for whom.
# Needs root, for the kernel's tracepoints. `dmabuf-sync record`, `timeline` and `report` do this
# for any program, and more.
"""A timeline of a program: python3 timeline.py [PICTURE.svg]."""

import os
import sys
import tempfile
import time

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter
from dmabuf_sync.trace import history_of, load, picture
from dmabuf_sync.trace.capture import Capture


def program(frame: DmaBuf, copy: DmaBuf) -> None:
    """One process draws, the DMA engine copies that, another process reads the copy."""
    with Blitter() as blitter, frame.locked(Access.WRITE):
        blitter.copy(frame, copy, wait=False).close()  # waits for our own lock
        reader = os.fork()
        if reader == 0:
            with copy.locked(Access.READ, timeout=10):  # waits for the copy
                time.sleep(0.05)
            os._exit(0)
        time.sleep(0.5)
    os.waitpid(reader, 0)


def main(target: str = "timeline.svg") -> None:
    with tempfile.NamedTemporaryFile(suffix=".dsync") as file, Exporter() as exporter:
        frame, copy = exporter.allocate(1 << 16, "frame"), exporter.allocate(1 << 16, "copy")
        with frame, copy, Capture(file.name, sys.argv, buffer_kb=1024) as capture:
            program(frame, copy)
            capture.finish()  # looks up what the buffers are called while they are there
        recording = load(file.name)
    history = history_of(recording.events)
    for request in history.requests:
        blocker = request.last.blocker if request.has_waited else None
        if blocker:
            milliseconds = request.waited / 1e6
            on = recording.buffers[blocker.ino].name
            print(f"{request.kind} of {request.pid} waited {milliseconds:.1f} ms on {on}, which")
            print(f"  {blocker.pid} had for {blocker.mode}")
    print(f"{len(history.uses)} uses of buffers, {len(history.jobs)} DMA job")
    picture.save(recording, history, target)
    print(f"saved {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
