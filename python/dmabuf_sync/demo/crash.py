# SPDX-License-Identifier: MIT
"""A process that holds a lock is killed with SIGKILL while others wait for the buffer."""

from __future__ import annotations

import os
import select
import signal
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from .. import Access, DmaBuf, Exporter, Sync
from .process import Child

_TIMEOUT = 10.0  # seconds
_HOLD = 30.0  # seconds; far away, so that it is death that frees the buffer
_REPORT = struct.Struct("iq")  # which waiter, when (CLOCK_MONOTONIC, the same in all processes)


@dataclass(frozen=True)
class Heir:
    """A process that waited: its place in the queue, how it waited, seconds from kill to lock."""

    place: int
    pid: int
    way: str
    seconds: float


@dataclass(frozen=True)
class Crash:
    """The killed process and those who got the lock after it, in the order in which they got it."""

    holder: int
    heirs: tuple[Heir, ...]

    @property
    def ok(self) -> bool:
        """All of them got it after the kill, first come first served."""
        in_order = [heir.place for heir in self.heirs] == list(range(1, len(_WAYS) + 1))
        return in_order and all(0 < heir.seconds < _HOLD / 2 for heir in self.heirs)


def _report(pipe: int, place: int) -> None:
    os.write(pipe, _REPORT.pack(place, time.monotonic_ns()))


def _hold(buffer: DmaBuf, pipe: int) -> None:
    with buffer.locked(Access.WRITE, hold=_HOLD):
        _report(pipe, 0)
        while True:
            signal.pause()  # with the lock in hand, until SIGKILL comes


def _wait_fcntl(buffer: DmaBuf, pipe: int, place: int) -> None:
    with buffer.locked(Access.WRITE):
        _report(pipe, place)


def _wait_sync(buffer: DmaBuf, pipe: int, place: int) -> None:
    with Sync("heir") as sync:
        sync.add(buffer, Access.WRITE)
        with sync.locked():
            _report(pipe, place)


_WAYS: tuple[tuple[str, Callable[[DmaBuf, int, int], None]], ...] = (
    ("fcntl", _wait_fcntl),
    ("sync object", _wait_sync),
    ("fcntl", _wait_fcntl),
)


def _read(pipe: int) -> tuple[int, int]:
    if not select.select([pipe], [], [], _TIMEOUT)[0]:
        raise TimeoutError(f"nobody got the lock for {_TIMEOUT:.0f} s")
    place, when = _REPORT.unpack(os.read(pipe, _REPORT.size))
    return place, when


def _settle(child: Child) -> None:
    """Wait until the child sleeps in the kernel, so that waiters queue in a known order."""
    deadline = time.monotonic() + _TIMEOUT
    seen = 0
    while seen < 3:  # one glance could catch it asleep on its way there
        seen = seen + 1 if child.sleeping() else 0
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {child.pid} does not come to wait for the lock")
        time.sleep(0.02)


def run() -> Crash:
    """Kill the holder while three processes wait, two with fcntl and one with a sync object.

    TimeoutError when a lock is lost, ChildProcessError when a process fails.
    """
    with ExitStack() as stack:
        exporter = stack.enter_context(Exporter())
        buffer = stack.enter_context(exporter.allocate(os.sysconf("SC_PAGESIZE"), name="crash"))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        holder = stack.enter_context(Child(partial(_hold, buffer, writer)))
        _read(reader)
        waiters = []
        for place, (_, wait) in enumerate(_WAYS, start=1):
            child = stack.enter_context(Child(partial(wait, buffer, writer, place)))
            waiters.append(child)
            _settle(child)
        killed = time.monotonic_ns()
        holder.kill()
        heirs = []
        for _ in waiters:
            place, when = _read(reader)
            pid, way = waiters[place - 1].pid, _WAYS[place - 1][0]
            heirs.append(Heir(place, pid, way, (when - killed) / 1e9))
        for child in waiters:
            child.join()
    return Crash(holder.pid, tuple(heirs))
