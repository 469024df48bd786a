# SPDX-License-Identifier: MIT
"""A program to be recorded: processes that wait for each other, in ways that a report must find.

What happens is in the order of the lines of main(); who waits is asked of the kernel.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from actors import Actor
from locks import READ, WRITE, lock, unlock
from state import until_waiting

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter, Sync

HOLD = 0.02

kept: list[DmaBuf] = []
"""Never closed: closing any descriptor of a buffer would unlock it."""


def _rename(comm: str) -> None:
    Path("/proc/self/comm").write_text(comm)


def _chain(a: Actor, b: Actor, c: Actor, frame: int, copy: int) -> None:
    """c waits for b, which waits for a."""
    a.call(lock, frame, WRITE)
    b.call(lock, copy, READ)
    b.start(lock, frame, READ)
    until_waiting(b, frame)
    c.start(lock, copy, WRITE)
    until_waiting(c, copy)
    time.sleep(0.02)
    a.call(unlock, frame)
    b.result()
    b.call(unlock, frame)
    time.sleep(0.01)
    b.call(unlock, copy)
    c.result()
    c.call(unlock, copy)


def _deadlock(a: Actor, b: Actor, frame: int, copy: int) -> None:
    a.call(lock, frame, WRITE)
    b.call(lock, copy, WRITE)
    a.start(lock, copy, WRITE)
    until_waiting(a, copy)
    with contextlib.suppress(OSError):  # EDEADLK
        b.call(lock, frame, WRITE)
    b.call(unlock, copy)
    a.result()
    a.call(unlock, copy)
    a.call(unlock, frame)


def _hold_too_long(frame: int) -> None:
    buffer = DmaBuf(os.dup(frame))
    kept.append(buffer)
    buffer.lock(Access.WRITE, hold=HOLD)


def _revoke(a: Actor, b: Actor, frame: int) -> None:
    a.call(_hold_too_long, frame)
    b.call(lock, frame, WRITE)
    b.call(unlock, frame)


def _jobs(frame: DmaBuf, copy: DmaBuf) -> None:
    """A job that waits for the CPU, and a set that waits for the job."""
    with Blitter() as blitter, Sync("viewer") as viewer:
        viewer.add(frame, Access.READ)
        viewer.add(copy, Access.READ)
        frame.lock(Access.WRITE)
        job = blitter.copy(frame, copy, wait=False)
        time.sleep(0.01)
        frame.unlock()
        with viewer.locked(timeout=20):
            pass
        job.wait(20)
        job.close()


def main() -> None:
    with Exporter() as exporter, contextlib.ExitStack() as stack:
        frame = stack.enter_context(exporter.allocate(1 << 16, name="frame"))
        copy = stack.enter_context(exporter.allocate(1 << 16, name="copy"))
        actors = [stack.enter_context(Actor()) for _ in range(3)]
        for actor, name in zip(actors, ("camera", "encoder", "preview"), strict=True):
            actor.call(_rename, name)
        a, b, c = actors
        _chain(a, b, c, frame.fileno(), copy.fileno())
        _deadlock(a, b, frame.fileno(), copy.fileno())
        _revoke(a, b, frame.fileno())
        _jobs(frame, copy)
        print(*(actor.pid for actor in actors))


if __name__ == "__main__":
    main()
