# SPDX-License-Identifier: MIT
"""Sync objects: all buffers or none, order, deadlines, death (C1-C3, C7, C8)."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import available
from locks import READ, WRITE, lock, test, trylock, unlock
from state import accesses, counters, until_waiting, waiting
from vgem import VgemBuffer

from dmabuf_sync import Access, LockRevoked, Sync

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]


@pytest.fixture
def syncs() -> Iterator[Callable[..., Sync]]:
    """syncs((fd, access), ...): a sync object with these buffers, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(*buffers: tuple[int, Access], name: str = "test") -> Sync:
            sync = stack.enter_context(Sync(name))
            for fd, access in buffers:
                sync.add(fd, access)
            return sync

        yield make


class Waiter(threading.Thread):
    """A thread that locks a sync object; a sync object is an owner of its own."""

    def __init__(self, sync: Sync) -> None:
        super().__init__(daemon=True)
        self.sync = sync
        self.error: BaseException | None = None
        before = len(waiting())
        self.start()
        until(lambda: len(waiting()) > before, "waiting of a thread")

    def run(self) -> None:
        try:
            self.sync.lock()
        except BaseException as error:
            self.error = error

    def result(self) -> None:
        self.join(20)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def test_excludes_other_sync_objects_and_fcntl(
    bufs: Buffers, syncs: Callable[..., Sync]
) -> None:
    a, b = bufs(2)
    one = syncs((a, Access.READ), (b, Access.WRITE))
    two = syncs((b, Access.READ))
    one.lock()
    with pytest.raises(BlockingIOError):
        two.lock(blocking=False)
    trylock(a, READ)  # readers share with readers of any kind
    with pytest.raises(BlockingIOError):
        trylock(b, READ)  # even of the same process: the sync object is the owner
    assert test(b, READ) == (WRITE, 0, 0, os.getpid())
    one.unlock()
    unlock(a)
    two.lock(blocking=False)
    with pytest.raises(BlockingIOError):
        trylock(b, WRITE)
    two.unlock()


def test_holds_nothing_while_it_waits(bufs: Buffers, syncs: Callable[..., Sync]) -> None:
    a, b = bufs(2)
    lock(b, WRITE)
    waiter = Waiter(syncs((a, Access.WRITE), (b, Access.WRITE)))
    assert [access.state for access in accesses(a)] == ["waiting"]
    # It is in line for a, but does not hold it: F_GETLK finds no holder.
    assert test(a, WRITE) is None
    unlock(b)
    waiter.result()
    assert test(a, WRITE) is not None
    waiter.sync.unlock()


def test_waiting_set_keeps_its_place_everywhere(
    bufs: Buffers, actors: Actors, syncs: Callable[..., Sync]
) -> None:
    a, b = bufs(2)
    late = actors(1)[0]
    lock(b, WRITE)
    waiter = Waiter(syncs((a, Access.WRITE), (b, Access.WRITE)))
    with pytest.raises(BlockingIOError):
        late.call(trylock, a, READ)
    late.start(lock, a, READ)
    until_waiting(late, a)
    unlock(b)
    waiter.result()
    waiter.sync.unlock()
    late.result()


def test_two_tasks_of_the_seed_cannot_deadlock(
    bufs: Buffers, syncs: Callable[..., Sync]
) -> None:
    a, b, c = bufs(3)
    one = syncs((a, Access.WRITE), (b, Access.WRITE))
    two = syncs((c, Access.WRITE), (a, Access.WRITE))
    rounds = [0, 0]

    def task(index: int, sync: Sync) -> None:
        for _ in range(200):
            with sync.locked():
                rounds[index] += 1

    threads = [
        threading.Thread(target=task, args=(index, sync), daemon=True)
        for index, sync in enumerate((one, two))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert rounds == [200, 200]


def test_cycle_of_three_sets_hands_over(bufs: Buffers, syncs: Callable[..., Sync]) -> None:
    a, b, c = bufs(3)
    first = syncs((a, Access.WRITE), (b, Access.WRITE), (c, Access.WRITE))
    first.lock()
    tangle = [
        Waiter(syncs((x, Access.WRITE), (y, Access.WRITE))) for x, y in ((a, b), (b, c), (c, a))
    ]
    first.unlock()
    for waiter in tangle:
        waiter.result()
        waiter.sync.unlock()


def test_timeout_leaves_nothing(buf: int, syncs: Callable[..., Sync]) -> None:
    sync = syncs((buf, Access.WRITE))
    lock(buf, READ)
    with pytest.raises(TimeoutError):
        sync.lock(timeout=0.02)
    assert [access.pid for access in accesses(buf) if access.kind == "sync"] == []
    unlock(buf)
    sync.lock(timeout=5)
    sync.unlock()


def test_no_wait_is_too_short(buf: int, syncs: Callable[..., Sync]) -> None:
    """Nor taken for a revoked hold; jiffies are sometimes behind the clock."""
    sync = syncs((buf, Access.WRITE))
    foreign = VgemBuffer() if available("vgem") else None
    with contextlib.ExitStack() as stack:
        lock(buf, READ)
        waits = [sync]
        if foreign is not None:
            stack.callback(foreign.close)
            stack.callback(foreign.signal, foreign.attach(write=True))
            waits.append(syncs((foreign.fd, Access.WRITE)))
        for _ in range(100):
            for wait in waits:
                begin = time.monotonic_ns()
                with pytest.raises(TimeoutError) as caught:
                    wait.lock(timeout=0.005)
                assert time.monotonic_ns() - begin >= 5_000_000
                assert not isinstance(caught.value, LockRevoked)


def test_asynchronous_lock(buf: int, actors: Actors, syncs: Callable[..., Sync]) -> None:
    (holder,) = actors(1)
    sync = syncs((buf, Access.WRITE))
    poll = select.poll()
    poll.register(sync.fileno(), select.POLLIN)
    holder.call(lock, buf, WRITE)
    sync.request()
    assert poll.poll(0) == []
    holder.call(unlock, buf)
    assert poll.poll(20000) == [(sync.fileno(), select.POLLIN)]
    with pytest.raises(BlockingIOError):
        holder.call(trylock, buf, READ)
    sync.unlock()
    # without anybody in the way, too
    sync.request()
    assert poll.poll(20000) == [(sync.fileno(), select.POLLIN)]
    sync.unlock()


@pytest.mark.parametrize("how", ["unlock", "close"])
def test_asynchronous_lock_taken_back(
    buf: int, actors: Actors, syncs: Callable[..., Sync], how: str
) -> None:
    (holder,) = actors(1)
    sync = syncs((buf, Access.WRITE))
    holder.call(lock, buf, WRITE)
    sync.request()
    assert len(waiting(buf)) == 1
    getattr(sync, how)()
    assert waiting(buf) == []
    holder.call(unlock, buf)
    trylock(buf, WRITE)


def test_edited_only_while_unlocked(bufs: Buffers, syncs: Callable[..., Sync]) -> None:
    a, b = bufs(2)
    sync = syncs((a, Access.READ))

    def fails(number: int, function: Callable[..., None], *args: object) -> None:
        with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
            function(*args)

    fails(errno.EEXIST, sync.add, a, Access.WRITE)
    fails(errno.ENOENT, sync.remove, b)
    fails(errno.EPERM, sync.unlock)
    sync.lock()
    fails(errno.EBUSY, sync.add, b, Access.READ)
    fails(errno.EBUSY, sync.remove, a)
    fails(errno.EBUSY, sync.lock)
    sync.unlock()
    sync.remove(a)
    fails(errno.EINVAL, sync.lock)


def test_revoked_set(
    bufs: Buffers, actors: Actors, syncs: Callable[..., Sync], set_parameter: SetParameter
) -> None:
    a, b = bufs(2)
    (waiter,) = actors(1)
    set_parameter("hold_timeout_ms", 30)
    sync = syncs((a, Access.WRITE), (b, Access.WRITE))
    sync.lock()
    waiter.call(lock, a, WRITE)
    assert sync.info().revoked == 1
    assert test(b, WRITE) == (WRITE, 0, 0, os.getpid())  # still held: nobody wants it
    with pytest.raises(LockRevoked):
        sync.unlock()
    assert accesses(b) == []
    waiter.call(unlock, a)
    sync.lock()
    sync.unlock()


def test_hold_time_of_one_lock(buf: int, actors: Actors, syncs: Callable[..., Sync]) -> None:
    (waiter,) = actors(1)
    sync = syncs((buf, Access.WRITE))
    sync.lock(hold=0.02)
    waiter.call(lock, buf, WRITE)
    with pytest.raises(LockRevoked):
        sync.unlock()
    with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
        sync.lock(hold=3600.0)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_death_of_the_holder(buf: int, actors: Actors, how: str) -> None:
    (holder,) = actors(1)
    holder.call(_lock_and_keep, buf)
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)
    holder.quit() if how == "exit" else holder.kill()
    until(lambda: not accesses(buf), "release at exit")
    trylock(buf, READ)


_kept: list[Sync] = []


def _lock_and_keep(fd: int) -> None:
    sync = Sync("kept")
    sync.add(fd, Access.WRITE)
    sync.lock()
    _kept.append(sync)


def test_ranges(buf: int, syncs: Callable[..., Sync]) -> None:
    with Sync("low") as low, Sync("high") as high:
        low.add(buf, Access.WRITE, offset=0, length=4096)
        high.add(buf, Access.WRITE, offset=4096, length=4096)
        low.lock()
        high.lock(blocking=False)
        trylock(buf, WRITE, 8192, 1)
        with pytest.raises(BlockingIOError):
            trylock(buf, READ, 4095, 1)
        high.unlock()
        low.unlock()


def test_device_access_conflicts_on_the_whole_buffer(anybuf: int) -> None:
    with open(f"/proc/self/fdinfo/{anybuf}") as file:
        if "exp_name:\tvdmabuf" in file.read():
            pytest.skip("keeps ranges apart, see test_exporter_beside_dma.py")
    with Sync("dma") as dma:
        dma.add(anybuf, Access.READ | Access.DMA, offset=0, length=4096)
        trylock(anybuf, WRITE, 8192, 1)
        with pytest.raises(BlockingIOError):
            dma.lock(blocking=False)
        unlock(anybuf)
        dma.lock(blocking=False)
        trylock(anybuf, READ)
        dma.unlock()


def test_many_buffers(bufs: Buffers) -> None:
    fds = bufs(1024)
    with Sync("many") as sync:
        for fd in fds:
            sync.add(fd, Access.WRITE)
        with sync.locked():
            assert len(accesses()) == 1024
        assert accesses() == []


def test_grant_wakes_only_whom_it_serves(bufs: Buffers, syncs: Callable[..., Sync]) -> None:
    a, b = bufs(2)
    lock(a, WRITE)
    lock(b, WRITE)
    waiter = Waiter(syncs((a, Access.WRITE), (b, Access.WRITE)))
    before = counters()["wakes"]
    unlock(a)
    assert counters()["wakes"] == before  # half of the set is no reason to wake
    unlock(b)
    waiter.result()
    assert counters()["wakes"] == before + 1
    waiter.sync.unlock()
