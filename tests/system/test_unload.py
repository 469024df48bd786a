# SPDX-License-Identifier: MIT
"""Loading and unloading (C8, C12): run last, the module goes from under everybody's feet."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import driver as driver_module
import pytest
from actors import Actor, until
from driver import DMA_WRITE, Driver, export
from locks import READ, WRITE, lock, trylock, unlock
from modules import CLIENTS, insmod, load_all, loaded, rmmod, unload
from state import accesses, proc_locks, until_waiting

from dmabuf_sync import Access, Sync, close_control

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]


@pytest.fixture
def unloadable() -> Iterator[None]:
    """Only dmabuf_sync is loaded, and idle; everything is back afterwards."""
    close_control()
    unload(*CLIENTS)
    yield
    load_all()


def test_unload_while_held_fails_cleanly(buf: int, unloadable: None) -> None:
    lock(buf, READ)
    assert rmmod("dmabuf_sync") == errno.EAGAIN
    assert proc_locks(buf) == [("POSIX", "READ", os.getpid())]
    unlock(buf)
    with Sync("held") as sync:
        sync.add(buf, Access.READ)
        assert rmmod("dmabuf_sync") == errno.EAGAIN
        close_control()
    until(lambda: not rmmod("dmabuf_sync"), "unloading")
    assert not loaded("dmabuf_sync")


def test_locks_from_before_the_module_count(buf: int, actors: Actors, unloadable: None) -> None:
    holder, waiter, third = actors(3)
    until(lambda: not rmmod("dmabuf_sync"), "unloading")
    holder.call(lock, buf, WRITE)
    assert not os.path.exists("/sys/kernel/debug/dmabuf_sync")
    waiter.start(lock, buf, WRITE)  # with the kernel's own queue
    until(lambda: not waiter.running() or _blocked(buf) == [waiter.pid], "native waiting")
    insmod("dmabuf_sync")
    with pytest.raises(BlockingIOError):
        third.call(trylock, buf, READ)
    with Sync("late") as sync:
        sync.add(buf, Access.READ)
        with pytest.raises(BlockingIOError):
            sync.lock(blocking=False)
    third.start(lock, buf, READ)
    until_waiting(third, buf)
    holder.call(unlock, buf)
    # The kernel's own waiter is woken and queues up with us, behind the one in our queue.
    third.result()
    third.call(unlock, buf)
    waiter.result()
    waiter.call(unlock, buf)


def test_locks_from_before_the_module_on_two_dma_bufs_of_one_object(
    actors: Actors, unloadable: None, set_parameter: Callable[[str, int], None]
) -> None:
    """One owner has both: each lock is due in time, and lost alone."""
    insmod("dsync_exporter")
    until(lambda: not rmmod("dmabuf_sync"), "unloading")
    pair = [export(1), export(1)]
    holder, *waiters = actors(3)
    for fd in pair:
        holder.call(lock, fd, WRITE)
    insmod("dmabuf_sync")
    set_parameter("hold_timeout_ms", 500)
    for waiter, fd in zip(waiters, pair, strict=True):
        waiter.start(lock, fd, READ)
    for waiter in waiters:
        waiter.result()
    for fd in pair:
        with pytest.raises(OSError, match=rf"\[Errno {errno.ETIMEDOUT}\]"):
            holder.call(unlock, fd)
        assert [pid for _, _, pid in proc_locks(fd)] == [waiters[pair.index(fd)].pid]
    for actor in (holder, *waiters):
        actor.kill()
    for fd in pair:
        os.close(fd)
    unload("dsync_exporter")


@pytest.mark.parametrize("how", ["set", "job", "try", "try a set"])
def test_locks_from_before_the_module_are_lost_to(
    buf: int, actors: Actors, unloadable: None, set_parameter: SetParameter, how: str
) -> None:
    """Whoever wants the buffer gives them a deadline, be it that he only tries."""
    until(lambda: not rmmod("dmabuf_sync"), "unloading")
    (holder,) = actors(1)
    holder.call(lock, buf, WRITE)
    insmod("dmabuf_sync")
    set_parameter("hold_timeout_ms", 20)
    with Sync("late") as sync:
        if how == "job":
            driver_module.load()
            with Driver() as driver:
                driver.get(buf, DMA_WRITE)
                driver.submit()
                driver.wait_started()
                driver.done()
                driver.wait_done()
            driver_module.unload()
        elif how == "try":
            until(lambda: _succeeds(trylock, buf, READ), "losing it")
            unlock(buf)
        else:
            sync.add(buf, Access.READ)
            if how == "set":
                sync.lock(timeout=20)
            else:
                until(lambda: _succeeds(sync.lock, blocking=False), "losing it")
            sync.unlock()
        close_control()
    with pytest.raises(OSError, match=rf"\[Errno {errno.ETIMEDOUT}\]"):
        holder.call(unlock, buf)


def _succeeds(call: Callable[..., None], *args: Any, **kwargs: Any) -> bool:
    try:
        call(*args, **kwargs)
        return True
    except BlockingIOError:
        return False


def _blocked(fd: int) -> list[int]:
    """Native waiters in /proc/locks."""
    ino = os.fstat(fd).st_ino
    found = []
    with open("/proc/locks") as file:
        for line in file:
            words = line.split()
            if words[1] == "->" and int(words[6].rsplit(":", 1)[1]) == ino:
                found.append(int(words[5]))
    return found


def test_unloaded_kernel_locks_as_before(buf: int, actors: Actors, unloadable: None) -> None:
    (other,) = actors(1)
    until(lambda: not rmmod("dmabuf_sync"), "unloading")
    lock(buf, WRITE)
    with pytest.raises(BlockingIOError):
        other.call(trylock, buf, READ)
    other.start(lock, buf, WRITE)
    until(lambda: _blocked(buf) == [other.pid], "native waiting")
    unlock(buf)
    other.result()
    insmod("dmabuf_sync")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_load_and_unload_under_load(
    buf: int, actors: Actors, unloadable: None, rounds: int, tmp_path: os.PathLike[str]
) -> None:
    plain = os.open(os.path.join(tmp_path, "plain"), os.O_RDWR | os.O_CREAT)
    hammers = actors(4)
    for index, actor in enumerate(hammers):
        actor.start(_hammer, plain if index % 2 else buf)
    for _ in range(rounds):
        try:
            until(lambda: not rmmod("dmabuf_sync"), "unloading under load")
        except AssertionError as error:
            raise AssertionError(accesses()) from error
        insmod("dmabuf_sync")
    for actor in hammers:
        actor.kill()
    os.close(plain)
    until(lambda: not accesses(), "release")


def _hammer(fd: int) -> None:
    """Lock in bursts: while two hand a buffer over without a break, the module is in use."""
    while True:
        for _ in range(50):
            lock(fd, WRITE, 0, 10)
            unlock(fd)
        time.sleep(0.005)
