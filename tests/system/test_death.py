# SPDX-License-Identifier: MIT
"""SIGKILL, whatever its victim is doing: everything is given back, the next in line served (C8)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from actors import Actor, until
from driver import DMA_WRITE, Driver, export, slow
from locks import READ, WRITE, lock, ofd_lock, trylock, unlock
from state import accesses, counters, until_waiting, waiting
from vgem import VgemBuffer

from dmabuf_sync import Access, DmaBuf, Sync

Actors = Callable[[int], list[Actor]]
Drivers = Callable[..., Driver]
SetParameter = Callable[[str, int], None]

pytestmark = pytest.mark.usefixtures("_driver_module")

CPU_KINDS = ("fcntl", "timed", "sync", "async")
KINDS = (*CPU_KINDS, "driver", "job")

# What an actor has, until it dies.
_has: list[Any] = []


@pytest.fixture(autouse=True)
def _patience(set_parameter: SetParameter) -> None:
    """Nobody is to be revoked."""
    set_parameter("hold_timeout_ms", 60_000)


@pytest.fixture
def cached() -> Iterator[int]:
    """A dma-buf whose cache maintenance takes as long as a test says."""
    fd = export(3, caches=True)
    yield fd
    os.close(fd)


@pytest.fixture
def vgem() -> Iterator[VgemBuffer]:
    buffer = VgemBuffer()
    yield buffer
    buffer.close()


def take(kind: str, fd: int) -> None:
    """In the actor: ask for the buffer for writing. An asynchronous lock, or a job, goes on."""
    if kind == "fcntl":
        lock(fd, WRITE)
    elif kind == "ofd":
        ofd_lock(fd, WRITE)
    elif kind == "timed":
        dmabuf = DmaBuf(os.dup(fd))
        _has.append(dmabuf)
        dmabuf.lock(Access.WRITE, timeout=100)
    elif kind in ("sync", "async"):
        sync = Sync("doomed")
        _has.append(sync)
        sync.add(fd, Access.WRITE)
        if kind == "sync":
            sync.lock()
        else:
            sync.request()
    else:
        driver = Driver()
        _has.append(driver)
        driver.get(fd, DMA_WRITE)
        if kind == "driver":
            driver.lock()
        else:
            driver.submit()


def drop(kind: str, fd: int) -> None:
    """In the actor."""
    if kind == "fcntl":
        unlock(fd)
    else:
        _has.pop().unlock()


def until_state(actor: Actor, fd: int, state: str) -> None:
    until(
        lambda: (actor.pid, state) in [(access.pid, access.state) for access in accesses(fd)],
        f"{state} of actor {actor.pid}",
    )


def in_line(actor: Actor, fd: int) -> None:
    actor.start(lock, fd, WRITE)
    until_waiting(actor, fd)


def served(actor: Actor, fd: int) -> None:
    """It has the buffer, alone, and nothing is left of those before it."""
    actor.result()
    assert [access.pid for access in accesses(fd)] == [actor.pid]
    actor.call(unlock, fd)
    until(lambda: not accesses(fd), "giving the buffer back")


@pytest.mark.parametrize("kind", KINDS)
def test_holder(buf: int, actors: Actors, kind: str) -> None:
    doomed, following = actors(2)
    doomed.call(take, kind, buf)
    if kind == "job":
        until_state(doomed, buf, "held")
    in_line(following, buf)
    doomed.kill()
    served(following, buf)


@pytest.mark.parametrize("kind", [*KINDS, "ofd"])
def test_waiter(buf: int, actors: Actors, kind: str) -> None:
    doomed, following = actors(2)
    lock(buf, READ)
    doomed.start(take, kind, buf)
    until_waiting(doomed, buf)
    following.start(lock, buf, READ)
    until_waiting(following, buf)
    doomed.kill()
    following.result()  # only the dead writer kept it back
    until(lambda: not waiting(buf), "leaving of the killed waiter")
    unlock(buf)
    following.call(unlock, buf)
    until(lambda: not accesses(buf), "giving the buffer back")


@pytest.mark.parametrize("kind", [*KINDS, "ofd"])
def test_waiter_for_a_fence(vgem: VgemBuffer, actors: Actors, kind: str) -> None:
    doomed, following = actors(2)
    fence = vgem.attach(write=True)
    doomed.start(take, kind, vgem.fd)
    until_state(doomed, vgem.fd, "held" if kind == "job" else "granting")
    in_line(following, vgem.fd)
    doomed.kill()
    if kind != "job":  # which is a fence as well, and has to wait like everybody
        until_state(following, vgem.fd, "granting")
    vgem.signal(fence)
    served(following, vgem.fd)


@pytest.mark.parametrize("kind", CPU_KINDS)
def test_in_begin_cpu_access(cached: int, drivers: Drivers, actors: Actors, kind: str) -> None:
    driver = drivers(None)
    doomed, following = actors(2)
    with slow("begin"):
        doomed.start(take, kind, cached)
        until(lambda: driver.state().in_begin == 1, "begin_cpu_access")
        in_line(following, cached)
        doomed.send_signal(signal.SIGKILL)
        if kind != "async":  # where nobody can be interrupted
            doomed.kill()
            until_state(following, cached, "granting")
    doomed.kill()
    served(following, cached)


@pytest.mark.parametrize("kind", ["fcntl", "timed", "sync", "async"])
def test_in_end_cpu_access(cached: int, drivers: Drivers, actors: Actors, kind: str) -> None:
    driver = drivers(None)
    doomed, following = actors(2)
    doomed.call(take, kind, cached)
    until_state(doomed, cached, "held")
    in_line(following, cached)
    # For a device, or the next of the CPU would take it over as it is.
    with slow("end"):
        unlocked = drivers()
        unlocked.get(cached, DMA_WRITE)
        following.kill()
        until(lambda: following.pid not in waiting(cached))
        unlocked.submit()
        doomed.start(drop, kind, cached)
        until(lambda: driver.state().in_end == 1, "end_cpu_access")
        doomed.send_signal(signal.SIGKILL)
        assert unlocked.state().order == ""
    doomed.kill()
    unlocked.wait_started()
    unlocked.done()
    unlocked.wait_done()


@pytest.mark.parametrize("call", [take, trylock])
def test_try_waits_for_caches(
    cached: int, drivers: Drivers, actors: Actors, call: Callable[..., None]
) -> None:
    """A lock that nobody holds any more is not refused because caches are being cleaned."""
    driver = drivers(None)
    holder, asker = actors(2)
    holder.call(lock, cached, READ)
    before = counters()["requests"]
    with slow("end"):
        holder.start(unlock, cached)
        until(lambda: driver.state().in_end == 1, "end_cpu_access")
        if call is trylock:
            asker.start(trylock, cached, READ)
        else:
            asker.start(_try_set, cached)
        until(lambda: counters()["requests"] == before + 1, "asking")
        assert accesses(cached)
        assert asker.running()
    asker.result()
    holder.result()
    asker.kill()


def _try_set(fd: int) -> None:
    sync = Sync("try")
    _has.append(sync)
    sync.add(fd, Access.READ)
    sync.lock(blocking=False)


def test_what_a_dead_owner_lost_is_not_told_to_another(
    cached: int, drivers: Drivers, actors: Actors, set_parameter: SetParameter
) -> None:
    """Its files_struct is used again, by processes that have nothing to do with it (C7)."""
    driver = drivers(None)
    waiter, holder = actors(2)
    set_parameter("hold_timeout_ms", 1)
    holder.call(lock, cached, WRITE)
    # A device waits: the CPU would take the buffer over, and nothing would end.
    device = drivers()
    device.get(cached, DMA_WRITE)
    with slow("end"):
        device.submit()
        until(lambda: driver.state().in_end == 1, "revoking")
        holder.kill()
        for other in actors(32):
            other.call(unlock, cached)
    device.wait_started()
    device.done()
    device.wait_done()
    waiter.call(lock, cached, WRITE)
    waiter.call(unlock, cached)
