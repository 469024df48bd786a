# SPDX-License-Identifier: MIT
"""Many locks of one sharer do not keep the others out of the kernel.

Each of these took minutes, with the queue of a shared buffer locked all the time; here it is too
long if an actor loses its patience.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import pytest
from actors import Actor
from locks import READ, WRITE, lock, trylock, unlock
from state import DEBUG_KERNEL, accesses

from dmabuf_sync import Access, DmaBuf, Sync

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]

PIECES = 400 if DEBUG_KERNEL else 1000
SETS = 50 if DEBUG_KERNEL else 100


@pytest.fixture(autouse=True)
def _locked_for_long(set_parameter: SetParameter) -> None:
    """Nobody is to be revoked, however slow the guest is."""
    set_parameter("hold_timeout_ms", 60_000)


def _scatter(fd: int, kind: int, count: int, step: int) -> None:
    """In an actor: lock single lines, the last one first."""
    for index in reversed(range(count)):
        trylock(fd, kind, index * step, 1)


@pytest.mark.parametrize("step", [128, 1 << 20])
def test_pieces(buf: int, actors: Actors, step: int) -> None:
    """In the buffer, and beyond its end: who locks all of it begins what lies between."""
    one, other = actors(2)
    one.call(_scatter, buf, READ, PIECES, step)
    other.call(lock, buf, READ)
    other.call(unlock, buf)
    other.call(trylock, buf, READ)
    one.call(unlock, buf)
    other.call(unlock, buf)
    assert accesses(buf) == []


def test_pieces_that_do_not_merge(buf: int, actors: Actors) -> None:
    """One range was begun, and those who hold parts of it are many."""
    one, other = actors(2)
    one.call(lock, buf, WRITE)
    one.call(_scatter, buf, READ, PIECES // 2, 128)
    other.call(trylock, buf, READ, 0, 1)
    other.call(unlock, buf)
    one.call(unlock, buf, 64, 1)
    one.call(unlock, buf)
    assert accesses(buf) == []


def test_sets_in_front(bufs: Buffers, actors: Actors) -> None:
    """The search for cycles goes through everybody who waits in front."""
    fds = bufs(SETS)
    holder, victim = actors(2)
    holder.call(lock, fds[0], WRITE)
    with contextlib.ExitStack() as stack:
        for _ in range(SETS):
            sync = stack.enter_context(Sync("in front"))
            for fd in fds:
                sync.add(fd, Access.WRITE)
            sync.request()
        with pytest.raises(TimeoutError):
            victim.call(_lock_for_a_moment, fds[0])
    holder.call(unlock, fds[0])


def _lock_for_a_moment(fd: int) -> None:
    with DmaBuf(os.dup(fd)) as buffer:
        buffer.lock(Access.WRITE, timeout=0.001)
