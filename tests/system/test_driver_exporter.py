# SPDX-License-Identifier: MIT
"""The driver API, function by function: exporters with hooks, and parts of buffers (C10)."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable, Iterator

import pytest
from actors import Actor
from driver import (
    DMA_READ,
    DMA_WRITE,
    F_READ,
    F_WRITE,
    READ,
    WRITE,
    Driver,
    cache_calls,
    export,
    fails,
    hook_calls,
)
from locks import UNLOCK, lock, ofd_trylock, trylock, unlock
from state import until_waiting

from dmabuf_sync import Access, Sync

Actors = Callable[[int], list[Actor]]
Drivers = Callable[..., Driver]
PAGE = mmap.PAGESIZE
PAGES = 16

pytestmark = pytest.mark.usefixtures("_driver_module")


@pytest.fixture
def hooked(drivers: Drivers) -> Iterator[int]:
    """A dma-buf whose exporter is registered."""
    driver = drivers(None)
    driver.register_exporter()
    fd = export(0, hooks=True)
    hook_calls()
    yield fd
    os.close(fd)
    driver.unregister_exporter()


def test_ranges_are_begun_and_ended(hooked: int) -> None:
    before = cache_calls()
    lock(hooked, F_WRITE, PAGE, 2 * PAGE)
    assert hook_calls() == [("begin", PAGE, 3 * PAGE - 1)]
    unlock(hooked, PAGE, PAGE)
    assert sorted(hook_calls()) == [
        ("end", PAGE, 2 * PAGE - 1),
        ("released", PAGE, 2 * PAGE - 1),
    ]
    unlock(hooked)
    name, first, last = hook_calls()[-1]
    assert (name, first, last) == ("end", 2 * PAGE, 3 * PAGE - 1)
    assert cache_calls() == before


def test_who_unlocks_nothing_takes_nothing_away(hooked: int, actors: Actors) -> None:
    """Meanwhile nobody is granted anything: over and over, that would be never."""
    (other,) = actors(1)
    lock(hooked, F_READ, PAGE, PAGE)
    hook_calls()
    unlock(hooked, 2 * PAGE, PAGE)
    unlock(hooked, 0, PAGE)
    other.call(unlock, hooked)
    other.call(_close_another, hooked)
    other.call(ofd_trylock, hooked, UNLOCK)
    assert hook_calls() == []
    unlock(hooked, PAGE + 10, PAGE)
    assert ("released", PAGE + 10, 2 * PAGE + 9) in hook_calls()
    unlock(hooked)
    hook_calls()


def _close_another(fd: int) -> None:
    os.close(os.dup(fd))


def test_exporter_that_is_not_registered(drivers: Drivers) -> None:
    """Its dma-bufs are like all others."""
    driver = drivers(None)
    driver.unregister_exporter()
    begun, ended = cache_calls()
    fd = export(0, hooks=True)
    lock(fd, F_WRITE, 0, PAGE)
    unlock(fd)
    assert hook_calls() == []
    assert cache_calls() == (begun + 1, ended + 1)
    driver.register_exporter()
    driver.register_exporter()  # once is enough
    lock(fd, F_WRITE, 0, PAGE)
    unlock(fd)
    assert [name for name, *_ in hook_calls()].count("begin") == 1
    driver.unregister_exporter()
    driver.unregister_exporter()
    lock(fd, F_WRITE, 0, PAGE)
    unlock(fd)
    assert hook_calls() == []
    os.close(fd)


def test_devices_use_parts(hooked: int, drivers: Drivers, actors: Actors) -> None:
    (other,) = actors(1)
    driver, second = drivers(), drivers()
    driver.get_range(hooked, DMA_WRITE, 4, 4)
    for first, pages in ((0, 0), (PAGES, 1), (1, PAGES)):
        with fails(errno.EINVAL):
            second.get_range(hooked, DMA_READ, first, pages)
    lock(hooked, F_WRITE, 0, 4 * PAGE)
    driver.submit()
    driver.wait_started()
    other.call(trylock, hooked, F_READ, 8 * PAGE, PAGE)
    for page in (4, 7):
        with pytest.raises(BlockingIOError):
            other.call(trylock, hooked, F_READ, page * PAGE, 1)
    unlock(hooked)
    driver.done()
    driver.wait_done()
    other.call(trylock, hooked, F_READ, 4 * PAGE, 1)


def test_processor_uses_parts(buf: int, drivers: Drivers) -> None:
    """Between accesses of the CPU ranges count, whatever the exporter can do."""
    one, two, both = drivers(), drivers(), drivers()
    one.get_range(buf, WRITE, 0, 1)
    two.get_range(buf, WRITE, 1, 1)
    both.get_range(buf, READ, 0, 2)
    one.lock()
    two.trylock()
    with pytest.raises(BlockingIOError):
        both.trylock()
    two.unlock()
    one.unlock()
    both.trylock()
    both.unlock()


def test_who_may_access(hooked: int, drivers: Drivers, actors: Actors) -> None:
    (other,) = actors(1)
    driver = drivers(None)

    def may(first: int, pages: int, write: bool = False) -> bool:
        return driver.cpu_may_access(hooked, first, pages, write)

    assert not may(0, PAGES)
    trylock(hooked, F_WRITE, 0, PAGE)
    trylock(hooked, F_READ, PAGE, PAGE)
    assert may(0, 1, write=True) and may(1, 1) and not may(1, 1, write=True)
    assert not may(2, PAGES - 2)
    assert not other.call(_may_access, hooked)
    hook_calls()
    trylock(hooked, F_READ, 0, PAGE)
    assert ("released", 0, PAGE - 1) in hook_calls()
    assert not may(0, 1, write=True)
    unlock(hooked)
    assert not may(0, PAGES)

    with Sync("as well") as sync:
        sync.add(hooked, Access.WRITE, offset=PAGE, length=PAGE)
        sync.lock()
        assert may(1, 1, write=True) and not may(2, 1)
        assert not other.call(_may_access, hooked)
        sync.unlock()
    assert not may(1, 1)

    ofd_trylock(hooked, F_WRITE)
    assert other.call(_may_access, hooked)  # whoever shares the description
    ofd_trylock(hooked, 2)


def _may_access(fd: int) -> bool:
    with Driver(None) as driver:
        return driver.cpu_may_access(fd, 0, PAGES, False)


def test_nobody_else_has_it_when_it_is_taken_away(hooked: int, actors: Actors) -> None:
    """What was given out is called back before the next owner has the buffer."""
    holder, waiter = actors(2)
    holder.call(lock, hooked, F_WRITE)
    waiter.start(lock, hooked, F_WRITE)
    until_waiting(waiter, hooked)
    hook_calls()
    holder.call(unlock, hooked)
    waiter.result()
    assert [name for name, *_ in hook_calls()] == ["released"]
    waiter.call(unlock, hooked)
