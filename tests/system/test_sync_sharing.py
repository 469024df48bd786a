# SPDX-License-Identifier: MIT
"""A sync object in several processes, by fork and over a socket: one owner (C3, C8)."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from actors import Actor, until
from driver import fails
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses, counters, until_waiting, waiting

from dmabuf_sync import Access, Sync
from dmabuf_sync._uapi import ffi, lib

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]


def _lock(fd: int, flags: int = 0) -> None:
    request = ffi.new("struct dmabuf_sync_lock *")
    request.flags = flags
    request.timeout_ns = lib.DMABUF_SYNC_NO_TIMEOUT
    fcntl.ioctl(fd, lib.DMABUF_SYNC_IOC_LOCK, ffi.buffer(request))


def _unlock(fd: int) -> None:
    fcntl.ioctl(fd, lib.DMABUF_SYNC_IOC_UNLOCK)


def _add(fd: int, buf: int) -> None:
    request = ffi.new("struct dmabuf_sync_add *")
    request.fd = buf
    request.access = lib.DMABUF_SYNC_WRITE
    fcntl.ioctl(fd, lib.DMABUF_SYNC_IOC_ADD, ffi.buffer(request))


def _readable(fd: int, timeout: float = 0) -> bool:
    return bool(select.select([fd], [], [], timeout)[0])


def _receive(channel: int) -> int:
    """In an actor: take a descriptor off a socket."""
    with socket.socket(fileno=os.dup(channel)) as end:
        return socket.recv_fds(end, 1, 1)[1][0]


@pytest.fixture
def sync(buf: int) -> Iterator[Sync]:
    """With one buffer, for writing."""
    with Sync("shared") as made:
        made.add(buf, Access.WRITE)
        yield made


@pytest.fixture(params=["fork", "socket"])
def shared(
    request: pytest.FixtureRequest, buf: int, sync: Sync, actors: Actors
) -> tuple[Actor, int]:
    """Another process that has the sync object, and its descriptor there."""
    if request.param == "fork":
        (other,) = actors(1)
        return other, sync.fileno()
    ours, theirs = socket.socketpair()
    # It closes what it has from the fork, so that the socket is the only way.
    (other,) = actors(1)
    other.call(os.close, sync.fileno())
    other.start(_receive, theirs.fileno())
    socket.send_fds(ours, [b"."], [sync.fileno()])
    fd = other.result()
    ours.close()
    theirs.close()
    return other, fd


def test_one_owner(buf: int, sync: Sync, shared: tuple[Actor, int], actors: Actors) -> None:
    other, fd = shared
    (stranger,) = actors(1)
    sync.lock()
    with fails(errno.EBUSY):
        other.call(_lock, fd)
    with pytest.raises(BlockingIOError):
        other.call(trylock, buf, READ)  # as a process it is another owner
    other.call(_unlock, fd)
    with fails(errno.EPERM):
        sync.unlock()
    other.call(_lock, fd)
    assert [(a.pid, a.kind) for a in accesses(buf)] == [(other.pid, "sync")]
    with pytest.raises(BlockingIOError):
        stranger.call(trylock, buf, READ)
    sync.unlock()
    stranger.call(trylock, buf, READ)


def test_the_last_descriptor_unlocks(buf: int, sync: Sync, shared: tuple[Actor, int]) -> None:
    other, _ = shared
    sync.lock()
    sync.close()
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)  # held through the other's
    other.kill()
    until(lambda: not accesses(buf), "unlocking by the last descriptor")


def test_who_locked_may_die(buf: int, sync: Sync, shared: tuple[Actor, int]) -> None:
    other, fd = shared
    other.call(_lock, fd)
    other.kill()
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)
    assert [access.comm for access in accesses(buf)] == [""]
    sync.unlock()
    trylock(buf, READ)


def test_anybody_sees_the_grant_and_takes_the_request_back(
    buf: int, sync: Sync, shared: tuple[Actor, int]
) -> None:
    other, fd = shared
    for taken_back in (False, True):
        trylock(buf, READ)
        other.call(_lock, fd, lib.DMABUF_SYNC_LOCK_ASYNC)
        assert waiting(buf) == [other.pid]
        assert not _readable(sync.fileno())
        if taken_back:
            sync.unlock()
            assert waiting(buf) == []
            unlock(buf)
        else:
            unlock(buf)
            assert _readable(sync.fileno(), 20)
            assert other.call(_readable, fd)
            sync.unlock()


def test_a_waiting_lock_of_another_process(
    buf: int, sync: Sync, shared: tuple[Actor, int]
) -> None:
    other, fd = shared
    trylock(buf, WRITE)
    other.start(_lock, fd)
    until_waiting(other, buf)
    for call in (sync.lock, sync.unlock, sync.request):
        with fails(errno.EBUSY):
            call()
    with fails(errno.EBUSY):
        sync.remove(buf)
    other.kill()  # while it waits: the object is as before
    until(lambda: not waiting(buf), "leaving of a killed waiter")
    unlock(buf)
    sync.lock(blocking=False)
    sync.unlock()


def test_both_edit_the_set(bufs: Buffers, actors: Actors) -> None:
    a, b = bufs(2)
    with Sync("edited") as sync:
        (other,) = actors(1)
        sync.add(a, Access.READ)
        other.call(_add, sync.fileno(), b)
        with fails(errno.EEXIST):
            sync.add(b, Access.READ)
        sync.lock()
        with fails(errno.EBUSY):
            other.call(_add, sync.fileno(), a)
        assert len(accesses()) == 2
        other.kill()  # the buffer stays in the set
        sync.unlock()
        assert sync.info().buffers == 2


def test_unlocked_while_on_its_way(buf: int) -> None:
    """Nobody has it but the message in a socket, and then that is gone as well."""
    ours, theirs = socket.socketpair()
    with Sync("on its way") as sync:
        sync.add(buf, Access.WRITE)
        sync.lock()
        socket.send_fds(ours, [b"."], [sync.fileno()])
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)
    ours.close()
    theirs.close()
    until(lambda: not accesses(buf), "unlocking by a socket that is closed")


def test_races_for_one_sync_object(
    buf: int, sync: Sync, shared: tuple[Actor, int]
) -> None:
    """Both lock and unlock what the other may just be unlocking or locking."""
    other, fd = shared
    other.start(_storm, fd, 300)
    _storm(sync.fileno(), 300)
    other.result()
    if accesses(buf):
        sync.unlock()
    before = counters()
    sync.lock()
    sync.unlock()
    assert counters()["grants"] == before["grants"] + 1
    lock(buf, WRITE)


def _storm(fd: int, rounds: int) -> None:
    for index in range(rounds):
        for call in (partial(_lock, fd, index % 3), partial(_unlock, fd)):
            try:
                call()
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.EPERM):
                    raise
