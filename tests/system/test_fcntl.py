# SPDX-License-Identifier: MIT
"""fcntl(2) locks on dma-bufs: exclusion, order, cycles (C1, C2, C4, C9)."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable

import pytest
from actors import Actor
from buffers import allocate_readonly
from locks import (
    READ,
    UNLOCK,
    WRITE,
    lock,
    ofd_lock,
    ofd_test,
    ofd_trylock,
    test,
    trylock,
    unlock,
)
from state import accesses, counters, proc_locks, until_waiting, waiting

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]


def test_writers_exclude_each_other_on_any_exporter(anybuf: int, actors: Actors) -> None:
    (other,) = actors(1)
    lock(anybuf, WRITE)
    with pytest.raises(BlockingIOError):
        other.call(trylock, anybuf, WRITE)
    with pytest.raises(BlockingIOError):
        other.call(trylock, anybuf, READ)
    unlock(anybuf)
    other.call(trylock, anybuf, WRITE)
    with pytest.raises(BlockingIOError):
        trylock(anybuf, READ)


def test_readers_share(buf: int, actors: Actors) -> None:
    one, two = actors(2)
    one.call(lock, buf, READ)
    two.call(lock, buf, READ)
    lock(buf, READ)
    assert sorted(a.pid for a in accesses(buf)) == sorted([one.pid, two.pid, os.getpid()])
    with pytest.raises(BlockingIOError):
        one.call(trylock, buf, WRITE)


def test_waiter_is_granted_by_unlock(buf: int, actors: Actors) -> None:
    holder, waiter = actors(2)
    holder.call(lock, buf, WRITE)
    waiter.start(lock, buf, WRITE)
    until_waiting(waiter, buf)
    assert waiter.running()
    holder.call(unlock, buf)
    waiter.result()


def test_first_come_first_served(buf: int, actors: Actors) -> None:
    holder, *queue = actors(4)
    holder.call(lock, buf, WRITE)
    for actor in queue:
        actor.start(lock, buf, WRITE)
        until_waiting(actor, buf)
    assert waiting(buf) == [actor.pid for actor in queue]
    holder.call(unlock, buf)
    for position, actor in enumerate(queue):
        actor.result()
        assert waiting(buf) == [later.pid for later in queue[position + 1 :]]
        actor.call(unlock, buf)


def test_late_reader_waits_behind_a_waiting_writer(buf: int, actors: Actors) -> None:
    reader, writer, late = actors(3)
    reader.call(lock, buf, READ)
    writer.start(lock, buf, WRITE)
    until_waiting(writer, buf)
    with pytest.raises(BlockingIOError):
        late.call(trylock, buf, READ)
    late.start(lock, buf, READ)
    until_waiting(late, buf)
    reader.call(unlock, buf)
    writer.result()
    assert late.running()
    writer.call(unlock, buf)
    late.result()


def test_relocking_goes_to_the_back(buf: int, actors: Actors) -> None:
    first, second = actors(2)
    first.call(lock, buf, WRITE)
    second.start(lock, buf, WRITE)
    until_waiting(second, buf)
    first.call(unlock, buf)
    second.result()
    first.start(lock, buf, WRITE)
    until_waiting(first, buf)
    second.call(unlock, buf)
    first.result()


def test_one_grant_wakes_one_waiter(buf: int, actors: Actors) -> None:
    holder, *queue = actors(6)
    holder.call(lock, buf, WRITE)
    for actor in queue:
        actor.start(lock, buf, WRITE)
        until_waiting(actor, buf)
    before = counters()["wakes"]
    holder.call(unlock, buf)
    queue[0].result()
    assert counters()["wakes"] - before == 1
    assert len(waiting(buf)) == 4


def test_ranges(buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    lock(buf, WRITE, 0, 100)
    other.call(trylock, buf, WRITE, 100, 100)
    with pytest.raises(BlockingIOError):
        other.call(trylock, buf, READ, 99, 1)
    with pytest.raises(BlockingIOError):
        trylock(buf, WRITE, 0, 0)
    other.call(trylock, buf, WRITE, 1 << 40, 10)  # beyond the end
    unlock(buf, 50, 50)
    other.call(trylock, buf, READ, 50, 50)
    with pytest.raises(BlockingIOError):
        other.call(trylock, buf, READ, 49, 1)


def test_waiter_for_a_range_is_granted_when_that_range_is_free(buf: int, actors: Actors) -> None:
    (waiter,) = actors(1)
    lock(buf, WRITE, 0, 100)
    waiter.start(lock, buf, WRITE, 40, 20)
    until_waiting(waiter, buf)
    unlock(buf, 0, 40)
    assert waiting(buf) == [waiter.pid]
    unlock(buf, 40, 20)
    waiter.result()
    assert sorted(pid for _, _, pid in proc_locks(buf)) == sorted([os.getpid(), waiter.pid])


def test_split_and_merge(buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    lock(buf, WRITE, 0, 300)
    unlock(buf, 100, 100)
    assert len(proc_locks(buf)) == 2
    other.call(trylock, buf, WRITE, 100, 100)
    other.call(unlock, buf)
    lock(buf, WRITE, 100, 100)
    assert len(proc_locks(buf)) == 1


def test_upgrade_and_downgrade(buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    lock(buf, READ)
    lock(buf, WRITE)
    assert proc_locks(buf) == [("POSIX", "WRITE", os.getpid())]
    other.start(lock, buf, READ)
    until_waiting(other, buf)
    lock(buf, READ)
    other.result()
    with pytest.raises(BlockingIOError):
        trylock(buf, WRITE)
    assert proc_locks(buf).count(("POSIX", "READ", os.getpid())) == 1


def test_getlk(buf: int, actors: Actors) -> None:
    (holder,) = actors(1)
    assert test(buf, WRITE) is None
    holder.call(lock, buf, READ, 10, 20)
    assert test(buf, READ) is None
    assert test(buf, WRITE) == (READ, 10, 20, holder.pid)
    assert test(buf, WRITE, 30, 10) is None
    assert [a.pid for a in accesses(buf)] == [holder.pid]  # it took nothing


def test_read_only_descriptor() -> None:
    fd = allocate_readonly(65536)
    with pytest.raises(OSError, match=rf"\[Errno {errno.EBADF}\]"):
        trylock(fd, WRITE)
    trylock(fd, READ)
    os.close(fd)


def test_arguments(buf: int) -> None:
    with pytest.raises(OSError, match=r"\[Errno 22\]"):
        trylock(buf, 99)
    with pytest.raises(OSError, match=r"\[Errno 22\]"):
        trylock(buf, WRITE, -1)
    with pytest.raises(OSError, match=r"\[Errno 22\]"):
        ofd_trylock(buf, WRITE, pid=1)
    with pytest.raises(OSError, match=r"\[Errno 75\]"):
        trylock(buf, WRITE, (1 << 63) - 1, 2)
    trylock(buf, WRITE, 100, -50)  # [50, 100)
    assert accesses(buf)[0].start == 50
    unlock(buf)
    assert accesses(buf) == []
    unlock(buf)  # of what is not held: nothing


def test_locks_show_in_proc_and_lslocks(buf: int) -> None:
    lock(buf, WRITE)
    assert proc_locks(buf) == [("POSIX", "WRITE", os.getpid())]
    listing = subprocess.run(
        ["lslocks", "--noheadings", "--output", "PID,TYPE,MODE,INODE"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = [str(os.getpid()), "POSIX", "WRITE", str(os.fstat(buf).st_ino)]
    assert wanted in [line.split() for line in listing.splitlines()]


@pytest.mark.parametrize("size", [2, 3, pytest.param(8, marks=pytest.mark.slow)])
def test_cycle_gives_one_deadlock(bufs: Buffers, actors: Actors, size: int) -> None:
    fds = bufs(size)
    ring = actors(size)
    for index, actor in enumerate(ring):
        actor.call(lock, fds[index], WRITE)
    for index, actor in enumerate(ring[:-1]):
        actor.start(lock, fds[index + 1], WRITE)
        until_waiting(actor)
    before = counters()["deadlocks"]
    with pytest.raises(OSError, match=rf"\[Errno {errno.EDEADLK}\]"):
        ring[-1].call(lock, fds[0], WRITE)
    assert counters()["deadlocks"] == before + 1
    # It kept what it had, and the others go on as it lets go.
    ring[-1].call(unlock, fds[-1])
    for index in reversed(range(size - 1)):
        ring[index].result()
        ring[index].call(unlock, fds[index + 1])
        ring[index].call(unlock, fds[index])


def test_two_upgrading_readers(buf: int, actors: Actors) -> None:
    one, two = actors(2)
    one.call(lock, buf, READ)
    two.call(lock, buf, READ)
    one.start(lock, buf, WRITE)
    until_waiting(one, buf)
    with pytest.raises(OSError, match=rf"\[Errno {errno.EDEADLK}\]"):
        two.call(lock, buf, WRITE)
    two.call(unlock, buf)
    one.result()


@pytest.mark.parametrize("call", [lock, trylock])
def test_holder_extends_past_those_who_wait_for_it(
    buf: int, actors: Actors, call: Callable[..., None]
) -> None:
    holder, writer = actors(2)
    holder.call(lock, buf, READ, 0, 100)
    writer.start(lock, buf, WRITE)
    until_waiting(writer, buf)
    holder.call(call, buf, READ, 50, 100)
    assert writer.running()
    holder.call(unlock, buf)
    writer.result()


def test_order_alone_makes_no_cycle(bufs: Buffers, actors: Actors) -> None:
    a, b = bufs(2)
    one, two, writer_a, writer_b = actors(4)
    one.call(lock, a, READ)
    two.call(lock, b, READ)
    writer_a.start(lock, a, WRITE)
    writer_b.start(lock, b, WRITE)
    until_waiting(writer_a, a)
    until_waiting(writer_b, b)
    before = counters()["overtakes"]
    one.start(lock, b, READ)  # behind writer_b, who waits for two
    until_waiting(one, b)
    two.call(lock, a, READ)  # behind writer_a, who waits for one: would be a cycle
    assert counters()["overtakes"] == before + 1
    two.call(unlock, b)
    writer_b.result()
    writer_b.call(unlock, b)
    one.result()
    one.call(unlock, a)
    two.call(unlock, a)
    writer_a.result()


def test_ofd_locks_share_the_one_file(buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    ofd_lock(buf, WRITE)
    other.call(ofd_trylock, buf, WRITE)  # the same open file description
    with pytest.raises(BlockingIOError):
        other.call(trylock, buf, READ)
    assert ofd_test(buf, READ) is None
    assert test(buf, READ) == (WRITE, 0, 0, -1)
    other.kill()
    assert proc_locks(buf) == [("OFDLCK", "WRITE", -1)]
    ofd_trylock(buf, UNLOCK)
    assert accesses(buf) == []
