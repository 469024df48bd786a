# SPDX-License-Identifier: MIT
"""Benchmarks: what locks cost next to what one would use without them, in the same run.

Each row is measured in rounds that take turns with the other rows of its group, so that a machine
that becomes slower in between slows all of them; what counts is the ratio. All of it includes
what Python adds to a call. Needs the kernel modules.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from . import Access, Blitter, DmaBuf, Exporter, Sync
from .demo.process import Child

PAGE = os.sysconf("SC_PAGESIZE")
_MANY = 16  # buffers of a set
_CROWD = 4  # processes that want one buffer
_DEPTH = 8  # jobs that are queued before the first is waited for
_LIMIT = 60.0  # seconds that a lock may take before it counts as lost

Turn = Callable[[int], float | None]
"""Does its work so many times; returns nanoseconds if it knows better than its caller."""


@dataclass(frozen=True)
class Row:
    """What one operation takes, in the fastest of the rounds: it was disturbed least."""

    group: str
    name: str
    ns: float
    ratio: float
    """To the first row of the group."""
    rounds: int


@dataclass(frozen=True)
class _Group:
    name: str
    turns: dict[str, Turn]
    count: int
    """Operations in a round, at scale 1."""
    operations: int = 1
    """How many a turn does at once."""
    step: int = 1
    """What the number of operations is a multiple of."""


def run(rounds: int, scale: float, done: Callable[[float], None]) -> Iterator[Row]:
    """Measure everything; `done` is called with 1 after each round of a group.

    OSError as devices and locks give it.
    """
    with ExitStack() as stack:
        for group in _groups(stack):
            yield from _measure(group, rounds, scale, done)


def total(rounds: int) -> int:
    """How often run() calls `done`."""
    return rounds * len(_GROUPS)


def _measure(
    group: _Group, rounds: int, scale: float, done: Callable[[float], None]
) -> Iterator[Row]:
    count = max(round(group.count * scale / group.step), 2) * group.step
    times: dict[str, list[float]] = {name: [] for name in group.turns}
    for turn in group.turns.values():
        turn(group.step)
    for _ in range(rounds):
        for name, turn in group.turns.items():
            start = time.perf_counter_ns()
            known = turn(count)
            taken = time.perf_counter_ns() - start if known is None else known
            times[name].append(taken / (count * group.operations))
        done(1)
    first: float | None = None
    for name, measured in times.items():
        fastest = min(measured)
        first = fastest if first is None else first
        yield Row(group.name, name, round(fastest, 1), round(fastest / first, 3), rounds)


def _groups(stack: ExitStack) -> Iterator[_Group]:
    exporter = stack.enter_context(Exporter())
    for make in _GROUPS:
        with ExitStack() as of_group:
            yield make(of_group, exporter)


def _buffer(stack: ExitStack, exporter: Exporter) -> DmaBuf:
    return stack.enter_context(exporter.allocate(PAGE, name="bench"))


def _file(stack: ExitStack) -> int:
    fd = os.memfd_create("bench", os.MFD_CLOEXEC)
    stack.callback(os.close, fd)
    os.ftruncate(fd, PAGE)
    return fd


def _sync(stack: ExitStack, *buffers: DmaBuf) -> Sync:
    sync = stack.enter_context(Sync("bench"))
    for buffer in buffers:
        sync.add(buffer, Access.WRITE)
    return sync


def _lockf(*fds: int, kind: int = fcntl.LOCK_EX) -> Turn:
    def turn(count: int) -> None:
        for _ in range(count):
            for fd in fds:
                fcntl.lockf(fd, kind)
            for fd in fds:
                fcntl.lockf(fd, fcntl.LOCK_UN)

    return turn


def _lock_sync(sync: Sync) -> Turn:
    def turn(count: int) -> None:
        for _ in range(count):
            sync.lock()
            sync.unlock()

    return turn


def _alone(stack: ExitStack, exporter: Exporter) -> _Group:
    fd, buffer = _file(stack), _buffer(stack, exporter)

    def maintain(count: int) -> None:
        for _ in range(count):
            with buffer.cpu_access(Access.WRITE):
                pass

    turns = {
        "fcntl on a plain file": _lockf(fd),
        "fcntl on a dma-buf, to write": _lockf(buffer.fileno()),
        "fcntl on a dma-buf, to read": _lockf(buffer.fileno(), kind=fcntl.LOCK_SH),
        "sync object": _lock_sync(_sync(stack, buffer)),
        "DMA_BUF_IOCTL_SYNC, which locks nothing": maintain,
    }
    return _Group("lock and unlock, nobody else wants it", turns, 2000)


def _several(stack: ExitStack, exporter: Exporter) -> _Group:
    fds = [_file(stack) for _ in range(_MANY)]
    buffers = [_buffer(stack, exporter) for _ in range(_MANY)]
    turns = {
        "fcntl on plain files, one by one": _lockf(*fds),
        "fcntl on dma-bufs, one by one": _lockf(*(buffer.fileno() for buffer in buffers)),
        "sync object, all at once": _lock_sync(_sync(stack, *buffers)),
    }
    return _Group(f"{_MANY} buffers", turns, 200)


def _hand_over(stack: ExitStack, exporter: Exporter) -> _Group:
    buffer = _buffer(stack, exporter)
    here, there = (_eventfd(stack) for _ in range(2))

    def ask(count: int) -> None:
        for _ in range(count):
            os.eventfd_write(there, 1)
            os.eventfd_read(here)

    def answer(count: int) -> None:
        for _ in range(count):
            os.eventfd_read(there)
            os.eventfd_write(here, 1)

    turns = {
        "eventfd, there and back": _together(2, lambda: ask, lambda: answer),
        "fcntl, queued behind each other": _together(2, lambda: _waiting_lockf(buffer)),
        "sync object, queued behind each other": _together(2, lambda: _new_sync(buffer)),
    }
    return _Group("hand-over between two processes", turns, 300, operations=2)


def _eventfd(stack: ExitStack) -> int:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
    stack.callback(os.close, fd)
    return fd


def _await(event: int, count: int) -> None:
    for _ in range(count):
        if not select.select([event], [], [], _LIMIT)[0]:
            raise TimeoutError(f"a process has not come so far for {_LIMIT:.0f} s")
        os.eventfd_read(event)


def _waiting_lockf(buffer: DmaBuf) -> Turn:
    return _lockf(buffer.fileno())


def _new_sync(buffer: DmaBuf) -> Turn:
    """A sync object of this process's own."""

    def turn(count: int) -> None:
        with Sync("bench") as sync:
            sync.add(buffer, Access.WRITE)
            for _ in range(count):
                with sync.locked(timeout=_LIMIT):
                    pass

    return turn


def _together(
    processes: int, make: Callable[[], Turn], make_other: Callable[[], Turn] | None = None
) -> Turn:
    """Let processes do a turn at the same time; this is one of them. Forks are not measured."""

    def all_of_them(count: int) -> float:
        with ExitStack() as stack:
            ready, start, done = (_eventfd(stack) for _ in range(3))

            def work() -> None:
                turn = (make_other or make)()
                os.eventfd_write(ready, 1)
                _await(start, 1)
                turn(count)
                os.eventfd_write(done, 1)

            children = [stack.enter_context(Child(work)) for _ in range(processes - 1)]
            _await(ready, len(children))
            turn = make()
            began = time.perf_counter_ns()
            os.eventfd_write(start, len(children))
            turn(count)
            _await(done, len(children))
            taken = time.perf_counter_ns() - began
            for child in children:
                child.join()
            return taken

    return all_of_them


def _crowd(stack: ExitStack, exporter: Exporter) -> _Group:
    fd, buffer = _file(stack), _buffer(stack, exporter)
    turns = {
        "fcntl on a plain file, in no order": _together(_CROWD, lambda: _lockf(fd)),
        "fcntl on a dma-buf, in order": _together(_CROWD, lambda: _waiting_lockf(buffer)),
        "sync object, in order": _together(_CROWD, lambda: _new_sync(buffer)),
    }
    return _Group(f"{_CROWD} processes want one buffer", turns, 100, operations=_CROWD)


def _jobs(stack: ExitStack, exporter: Exporter) -> _Group:
    buffer = _buffer(stack, exporter)
    blitter = stack.enter_context(Blitter())

    def one(count: int) -> None:
        for _ in range(count):
            with blitter.fill(buffer, 1) as job:
                job.wait(_LIMIT)

    def deep(count: int) -> None:
        for _ in range(0, count, _DEPTH):
            jobs = [blitter.fill(buffer, 1, wait=False) for _ in range(_DEPTH)]
            for job in jobs:
                with job:
                    job.wait(_LIMIT)

    turns: dict[str, Turn] = {"one after the other": one, f"{_DEPTH} in the queue": deep}
    return _Group("DMA jobs that fill a page", turns, 10 * _DEPTH, step=_DEPTH)


_GROUPS = (_alone, _several, _hand_over, _crowd, _jobs)
