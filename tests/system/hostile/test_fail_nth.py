# SPDX-License-Identifier: MIT
"""Every allocation of every call of the framework fails once: fcntl(), its device, debugfs."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest
from actors import Actor
from exhaustion import Case, Make, Stack, a_set, closes, exhaust, overdue, unlocks
from injector import Injector
from locks import READ, WRITE, lock, ofd_lock, ofd_test, ofd_trylock, trylock, unlock
from locks import test as test_lock
from state import DEBUGFS, parameter, until_waiting

from dmabuf_sync import Access, Control, DmaBuf, Sync


def open_device(stack: Stack, fds: list[int]) -> Case:
    return Case(lambda: os.open("/dev/dmabuf_sync", os.O_RDWR | os.O_CLOEXEC), os.close)


def query(stack: Stack, fds: list[int]) -> Case:
    return Case(stack.enter_context(Control()).info)


def create(stack: Stack, fds: list[int]) -> Case:
    stack.enter_context(Sync("opens the device"))
    return Case(lambda: Sync("nth"), closes)


def add(stack: Stack, fds: list[int]) -> Case:
    """To a new object each time: one that had the buffers before has room for them."""
    made = [Sync("nth")]
    stack.callback(lambda: made[0].close())

    def call() -> None:
        for fd in fds:
            made[0].add(fd, Access.READ)

    def renew() -> None:
        made[0].close()
        made[0] = Sync("nth")

    return Case(call, before=renew)


def add_range(stack: Stack, fds: list[int]) -> Case:
    sync = stack.enter_context(Sync("nth"))
    return Case(
        lambda: sync.add(fds[0], Access.WRITE, offset=4096, length=4096),
        lambda _: sync.remove(fds[0]),
    )


def remove(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds)
    return Case(lambda: sync.remove(fds[1]), lambda _: sync.add(fds[1], Access.WRITE))


def sync_lock(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds)
    return Case(sync.lock, unlocks(sync))


def sync_trylock(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds, Access.READ)
    return Case(lambda: sync.lock(blocking=False), unlocks(sync))


def sync_wait(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds)
    return Case(sync.lock, unlocks(sync), before=overdue(stack, fds[:2]))


def sync_request(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds)
    return Case(sync.request, unlocks(sync))


def sync_unlock(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds)
    sync.lock()
    return Case(sync.unlock, lambda _: sync.lock(), errors=(errno.EFAULT,))


def take_back(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds[:2])
    trylock(fds[0], WRITE)
    stack.callback(unlock, fds[0])
    sync.request()
    return Case(sync.unlock, lambda _: sync.request(), errors=(errno.EFAULT,))


def setlk(kind: int) -> Make:
    return lambda stack, fds: Case(
        lambda: trylock(fds[0], kind, 0, 4096), lambda _: unlock(fds[0])
    )


def setlkw_that_waits(stack: Stack, fds: list[int]) -> Case:
    return Case(
        lambda: lock(fds[0], WRITE), lambda _: unlock(fds[0]), before=overdue(stack, fds[:1])
    )


def upgrade(stack: Stack, fds: list[int]) -> Case:
    fd = fds[0]
    stack.callback(unlock, fd)
    return Case(
        lambda: trylock(fd, WRITE),
        undo=lambda _: trylock(fd, READ),
        before=lambda: trylock(fd, READ),
    )


def split(stack: Stack, fds: list[int]) -> Case:
    """Unlocking the middle needs a second record."""
    fd = fds[0]
    stack.callback(unlock, fd)
    return Case(
        lambda: unlock(fd, 4096, 4096),
        undo=lambda _: trylock(fd, WRITE, 0, 3 * 4096),
        before=lambda: trylock(fd, WRITE, 0, 3 * 4096),
    )


def getlk(stack: Stack, fds: list[int]) -> Case:
    a_set(stack, fds).lock()
    return Case(lambda: test_lock(fds[0], WRITE))


def ofd_setlk(stack: Stack, fds: list[int]) -> Case:
    return Case(lambda: ofd_trylock(fds[0], WRITE), lambda _: ofd_trylock(fds[0], fcntl.F_UNLCK))


def ofd_setlkw_that_waits(stack: Stack, fds: list[int]) -> Case:
    return Case(
        lambda: ofd_lock(fds[0], WRITE),
        lambda _: ofd_trylock(fds[0], fcntl.F_UNLCK),
        before=overdue(stack, fds[:1]),
    )


def ofd_getlk(stack: Stack, fds: list[int]) -> Case:
    a_set(stack, fds).lock()
    return Case(lambda: ofd_test(fds[0], WRITE))


def timed_lock(stack: Stack, fds: list[int]) -> Case:
    buffer = DmaBuf(os.dup(fds[0]))
    stack.callback(buffer.close)
    # The library's own descriptor of the device.
    buffer.lock(Access.WRITE, timeout=5)
    buffer.unlock()
    return Case(lambda: buffer.lock(Access.WRITE, timeout=5), lambda _: buffer.unlock())


def reading(name: str) -> Make:
    def case(stack: Stack, fds: list[int]) -> Case:
        def read() -> bytes:
            fd = os.open(f"{DEBUGFS}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(fd, 1 << 16)
            finally:
                os.close(fd)

        a_set(stack, fds).lock()
        return Case(read)

    return case


def sync_info(stack: Stack, fds: list[int]) -> Case:
    return Case(stack.enter_context(Sync("nth")).info)


def sync_request_that_waits(stack: Stack, fds: list[int]) -> Case:
    sync = a_set(stack, fds[:2])
    return Case(sync.request, unlocks(sync), before=lambda: trylock(fds[0], WRITE))


def whole_unlock(stack: Stack, fds: list[int]) -> Case:
    """fcntl() allocates for every call."""
    stack.callback(unlock, fds[0])
    return Case(lambda: unlock(fds[0]), before=lambda: trylock(fds[0], WRITE))


def downgrade(stack: Stack, fds: list[int]) -> Case:
    """Of the middle, which makes three records of one."""
    stack.callback(unlock, fds[0])
    return Case(
        lambda: trylock(fds[0], READ, 4096, 4096),
        before=lambda: trylock(fds[0], WRITE, 0, 3 * 4096),
    )


def ofd_unlock(stack: Stack, fds: list[int]) -> Case:
    stack.callback(ofd_trylock, fds[0], fcntl.F_UNLCK)
    return Case(
        lambda: ofd_trylock(fds[0], fcntl.F_UNLCK), before=lambda: ofd_trylock(fds[0], WRITE)
    )


def timed_lock_that_waits(stack: Stack, fds: list[int]) -> Case:
    buffer = DmaBuf(os.dup(fds[0]))
    stack.callback(buffer.close)
    return Case(
        lambda: buffer.lock(Access.WRITE, timeout=5),
        lambda _: buffer.unlock(),
        before=overdue(stack, fds[:1]),
    )


def deadlock(stack: Stack, fds: list[int]) -> Case:
    """Another process waits for what this one holds, and holds what this one asks for."""
    trylock(fds[0], WRITE)
    stack.callback(unlock, fds[0])
    other = stack.enter_context(Actor())
    other.call(lock, fds[1], WRITE)
    other.start(lock, fds[0], WRITE)
    until_waiting(other)

    def call() -> None:
        try:
            lock(fds[1], WRITE)
        except OSError as error:
            if error.errno != errno.EDEADLK:
                raise

    return Case(call)


def hold_timeout(stack: Stack, fds: list[int]) -> Case:
    old = parameter("hold_timeout_ms")
    stack.callback(parameter, "hold_timeout_ms", old)
    return Case(lambda: parameter("hold_timeout_ms", old))


CASES: dict[str, Make] = {
    "open": open_device,
    "create": create,
    "add": add,
    "add_range": add_range,
    "sync_lock": sync_lock,
    "sync_trylock": sync_trylock,
    "sync_wait": sync_wait,
    "sync_request": sync_request,
    "sync_request_that_waits": sync_request_that_waits,
    "setlk_read": setlk(READ),
    "setlk_write": setlk(WRITE),
    "setlkw_that_waits": setlkw_that_waits,
    "upgrade": upgrade,
    "downgrade": downgrade,
    "split": split,
    "whole_unlock": whole_unlock,
    "deadlock": deadlock,
    "getlk": getlk,
    "ofd_setlk": ofd_setlk,
    "ofd_setlkw_that_waits": ofd_setlkw_that_waits,
    "ofd_unlock": ofd_unlock,
    "timed_lock": timed_lock,
    "timed_lock_that_waits": timed_lock_that_waits,
    "debugfs_buffers": reading("buffers"),
    "debugfs_stats": reading("stats"),
    "hold_timeout": hold_timeout,
}
# These need not allocate anything.
FRUGAL: dict[str, Make] = {
    "query": query,
    "remove": remove,
    "sync_unlock": sync_unlock,
    "sync_info": sync_info,
    "take_back": take_back,
    "ofd_getlk": ofd_getlk,
}


@pytest.mark.parametrize("name", CASES)
def test_locks(inject: Injector, fds: list[int], name: str) -> None:
    assert exhaust(inject, CASES[name], fds) > 0


@pytest.mark.parametrize("name", FRUGAL)
def test_frugal_calls(inject: Injector, fds: list[int], name: str) -> None:
    exhaust(inject, FRUGAL[name], fds)
