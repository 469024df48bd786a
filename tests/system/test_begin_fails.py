# SPDX-License-Identifier: MIT
"""begin_cpu_access that fails (C10): the grant is undone, and every begin has its end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from driver import RESVS, begin_fails, cache_calls, export, fails
from locks import READ, WRITE, lock, ofd_lock, trylock, unlock
from state import accesses, until_waiting

from dmabuf_sync import Access, DmaBuf, Sync

Actors = Callable[[int], list[Actor]]

pytestmark = pytest.mark.usefixtures("_driver_module")


@pytest.fixture
def cached() -> Iterator[list[int]]:
    """Dma-bufs whose exporter counts, each on a reservation object of its own."""
    fds = [export(index, caches=True) for index in range(RESVS)]
    yield fds
    begin_fails(0)
    for fd in fds:
        os.close(fd)


@pytest.fixture
def calls(cached: list[int]) -> Callable[[], tuple[int, int]]:
    """calls(): successful begin_cpu_access calls and end_cpu_access calls since the start."""
    begun, ended = cache_calls()

    def so_far() -> tuple[int, int]:
        now = cache_calls()
        return now[0] - begun, now[1] - ended

    return so_far


@pytest.mark.parametrize("call", [lock, trylock, ofd_lock, "timed"])
def test_one_buffer(
    cached: list[int], calls: Callable[[], tuple[int, int]], call: Callable[..., None] | str
) -> None:
    fd = cached[0]
    begin_fails(1)
    with fails(errno.ENOSPC), DmaBuf(os.dup(fd)) as dmabuf:
        if callable(call):
            call(fd, WRITE)
        else:
            dmabuf.lock(Access.WRITE, timeout=20)
    assert accesses(fd) == []
    assert calls() == (0, 0)
    lock(fd, WRITE)
    unlock(fd)
    assert calls() == (1, 1)


def test_upgrade(cached: list[int], calls: Callable[[], tuple[int, int]]) -> None:
    """What was held before is held as before."""
    fd = cached[0]
    lock(fd, READ)
    begin_fails(1)
    with fails(errno.ENOSPC):
        lock(fd, WRITE)
    assert [(access.state, access.type) for access in accesses(fd)] == [("held", "R")]
    assert calls() == (1, 0)
    unlock(fd)
    assert calls() == (1, 1)


@pytest.mark.parametrize("nth", range(1, RESVS + 1))
@pytest.mark.parametrize("how", ["lock", "try", "request"])
def test_set(
    cached: list[int], calls: Callable[[], tuple[int, int]], how: str, nth: int
) -> None:
    """The nth of its buffers fails: those before it are ended, those behind it never begun."""
    with Sync("set") as sync:
        for fd in cached:
            sync.add(fd, Access.WRITE)
        begin_fails(nth)
        with fails(errno.ENOSPC):
            if how == "request":
                sync.request()
                sync.wait(20)
            else:
                sync.lock(blocking=how == "lock")
        until(lambda: not accesses(), "undoing the grant")
        assert calls() == (nth - 1, nth - 1)
        if how == "request":
            with fails(errno.ENOSPC):
                sync.unlock()
        sync.lock()
        sync.unlock()
    assert calls() == (nth - 1 + RESVS, nth - 1 + RESVS)


def test_next_in_line_is_served(
    cached: list[int], calls: Callable[[], tuple[int, int]], actors: Actors
) -> None:
    fd = cached[0]
    failing, following = actors(2)
    with Sync("its caches are not begun", cache=False) as sync:
        sync.add(fd, Access.WRITE)
        sync.lock()
        failing.start(lock, fd, WRITE)
        until_waiting(failing, fd)
        following.start(lock, fd, WRITE)
        until_waiting(following, fd)
        begin_fails(1)
        sync.unlock()
    with fails(errno.ENOSPC):
        failing.result()
    following.result()
    assert calls() == (1, 0)
    following.call(unlock, fd)
    assert calls() == (1, 1)
