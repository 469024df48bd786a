# SPDX-License-Identifier: MIT
"""How long the kernel remembers that an owner has lost a hold (C7): no longer than it must.

It remembers 1024 of them at most, and forgets the oldest first. So a note that is still there after
so many others says that these were not kept.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import allocate
from driver import DMA_WRITE, Driver, slow
from locks import WRITE, lock, ofd_trylock, trylock, unlock
from shared_files import child_sharing_files

Actors = Callable[[int], list[Actor]]
Drivers = Callable[..., Driver]
SetParameter = Callable[[str, int], None]

REVOKED = rf"\[Errno {errno.ETIMEDOUT}\]"
LIMIT = 1024


@pytest.fixture
def many() -> Iterator[list[int]]:
    """As many small buffers as can be remembered."""
    fds = [allocate("vdmabuf", 4096) for _ in range(LIMIT)]
    yield fds
    for fd in fds:
        os.close(fd)


def _take_over(fds: list[int]) -> None:
    """They are due: who passes by revokes them."""
    for fd in fds:
        while True:
            try:
                trylock(fd, WRITE)
                break
            except BlockingIOError:
                continue
        unlock(fd)


def _lock_all(fds: list[int]) -> None:
    for fd in fds:
        lock(fd, WRITE)


def _told(fds: list[int]) -> list[bool]:
    """Of each buffer, whether the caller is told that it has lost its hold."""
    told = []
    for fd in fds:
        try:
            unlock(fd)
            told.append(False)
        except TimeoutError:
            told.append(True)
    return told


def _lock_in_child(fds: list[int]) -> int:
    return child_sharing_files(lambda: _lock_all(fds))


def test_memory_is_bounded(
    buf: int, many: list[int], actors: Actors, set_parameter: SetParameter
) -> None:
    (holder,) = actors(1)
    set_parameter("hold_timeout_ms", 1)
    holder.call(_lock_all, [buf, *many])
    _take_over([buf, *many])
    assert holder.call(_told, [buf, *many]) == [False] + [True] * LIMIT


def test_dead_processes_are_forgotten(
    buf: int, many: list[int], actors: Actors, set_parameter: SetParameter
) -> None:
    """Their descriptors may live on with somebody else, so that no close tells."""
    holder, other = actors(2)
    set_parameter("hold_timeout_ms", 1)
    holder.call(lock, buf, WRITE)
    other.call(_lock_in_child, many)
    _take_over([buf, *many])
    assert holder.call(_told, [buf]) == [True]
    assert other.call(_told, many[-2:]) == [False] * 2


def test_closed_descriptions_are_forgotten(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    (holder,) = actors(1)
    set_parameter("hold_timeout_ms", 1)
    holder.call(lock, buf, WRITE)
    _take_over([buf])
    for _ in range(2):
        fds = [allocate("vdmabuf", 4096) for _ in range(LIMIT // 2)]
        for fd in fds:
            ofd_trylock(fd, WRITE)
        _take_over(fds)
        for fd in fds:
            os.close(fd)
    assert holder.call(_told, [buf]) == [True]


def test_told_once_while_caches_are_cleaned(
    cached: int, drivers: Drivers, actors: Actors, set_parameter: SetParameter
) -> None:
    driver, device = drivers(None), drivers()
    (holder,) = actors(1)
    device.get(cached, DMA_WRITE)
    set_parameter("hold_timeout_ms", 1)
    holder.call(lock, cached, WRITE)
    with slow("end"):
        device.submit()
        until(lambda: driver.state().in_end == 1, "revoking")
        assert [holder.call(_told, [cached]) for _ in range(3)] == [[True], [False], [False]]
    device.wait_started()
    assert holder.call(_told, [cached]) == [False]
    device.done()
    device.wait_done()
    holder.kill()
