# SPDX-License-Identifier: MIT
"""A revoked hold is its old owner's affair and nobody else's (C7), whatever is used again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NoReturn

import pytest
from actors import Actor
from buffers import allocate
from locks import READ, WRITE, lock, ofd_trylock, trylock, unlock
from shared_files import child_sharing_files
from state import accesses, counters, until_waiting

from dmabuf_sync import Access, DmaBuf, Sync

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]
REVOKED = rf"\[Errno {errno.ETIMEDOUT}\]"
LAST_PID = "/proc/sys/kernel/ns_last_pid"


def _revoke(fd: int, holder: Actor, waiter: Actor) -> None:
    """The holder loses its hold and does not know it."""
    holder.call(lock, fd, WRITE)
    waiter.call(lock, fd, WRITE)
    waiter.call(unlock, fd)


def _child_with_pid(pid: int, function: Callable[[], None]) -> int | None:
    """Run it in a child that has this pid; its errno or 0, None if somebody else has the pid."""
    with open(LAST_PID, "w") as file:
        file.write(str(pid - 1))
    child = os.fork()
    if child == 0:
        code = 255
        try:
            if os.getpid() == pid:
                code = 0
                function()
        except OSError as error:
            code = error.errno or 254
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if status == 255 else status


def _lock_in_child(fd: int) -> int:
    return child_sharing_files(lambda: lock(fd, WRITE))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_pid_that_is_used_again(
    buf: int, actors: Actors, set_parameter: SetParameter, times: int
) -> None:
    """Nothing is closed when its first owner exits, so that what it has lost is still known."""
    if not os.path.exists(LAST_PID):
        pytest.skip("this kernel does not let one choose a pid (CHECKPOINT_RESTORE)")
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 1)
    met = 0

    def use() -> None:
        trylock(buf, WRITE)
        unlock(buf)

    for _ in range(times):
        pid = holder.call(_lock_in_child, buf)
        waiter.call(lock, buf, WRITE)
        waiter.call(unlock, buf)
        result = _child_with_pid(pid, use)
        met += result is not None
        assert result in (0, None)
    assert met > times // 2


@pytest.mark.timeout(600)
@pytest.mark.parametrize("times", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_files_and_inodes_that_are_used_again(
    bufs: Buffers, actors: Actors, set_parameter: SetParameter, times: int
) -> None:
    """The owner of lost holds meets other buffers at the same descriptors and addresses."""
    (kept,) = bufs(1)
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 1)
    _revoke(kept, holder, waiter)
    holder.start(_lose_buffers_and_lock_others, times)
    holder.result(600)
    with pytest.raises(OSError, match=REVOKED):
        holder.call(trylock, kept, READ)
    holder.call(trylock, kept, READ)


def _lose_buffers_and_lock_others(times: int) -> None:
    """They are closed by somebody else with the same descriptors, so the caller is never told."""
    os.sched_setaffinity(0, {0})  # where memory is freed it is used again
    for _ in range(times):
        fd = allocate("vdmabuf", 4096)
        lock(fd, WRITE)
        _wait_for_child(os.fork() or _take(fd))
        child_sharing_files(lambda fd=fd: os.close(fd))
        # They are all there at once, so that one of them has what was given back.
        others = [allocate("vdmabuf", 4096) for _ in range(50)]
        for fd in others:
            lock(fd, WRITE)
            unlock(fd)
            os.close(fd)


def _take(fd: int) -> NoReturn:
    """In a child, which takes away what its parent has and exits."""
    code = 1
    try:
        lock(fd, WRITE)
        code = 0
    finally:
        os._exit(code)


def _wait_for_child(pid: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_open_file_description_and_process_are_two_owners(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 10)
    holder.call(ofd_trylock, buf, WRITE)
    waiter.call(lock, buf, WRITE)
    waiter.call(unlock, buf)
    holder.call(trylock, buf, READ)
    holder.call(unlock, buf)
    with pytest.raises(OSError, match=REVOKED):
        ofd_trylock(buf, READ)  # whoever shares the description


def test_child_of_the_old_holder_is_not_told(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    (waiter,) = actors(1)
    set_parameter("hold_timeout_ms", 10)
    lock(buf, WRITE)
    waiter.call(lock, buf, WRITE)
    waiter.call(unlock, buf)
    with Actor() as child:
        child.call(trylock, buf, WRITE)
        child.call(unlock, buf)
    with pytest.raises(OSError, match=REVOKED):
        unlock(buf)
    unlock(buf)


def test_a_lock_with_a_time_of_its_own(buf: int, actors: Actors) -> None:
    """The parameter is 5 s: who is served at once is served by the lock's own 20 ms."""
    (waiter,) = actors(1)
    before = counters()["revokes"]
    with DmaBuf(os.dup(buf)) as dmabuf:
        dmabuf.lock(Access.WRITE, hold=0.02)
        waiter.start(lock, buf, WRITE)
        waiter.result(timeout=4)
        assert counters()["revokes"] == before + 1
        waiter.call(unlock, buf)
        with pytest.raises(OSError, match=REVOKED):
            dmabuf.unlock()


def test_a_sync_object_loses_what_is_wanted_only(
    bufs: Buffers, actors: Actors
) -> None:
    wanted, other = bufs(2)
    (waiter,) = actors(1)
    with Sync("long") as sync:
        sync.add(wanted, Access.WRITE)
        sync.add(other, Access.WRITE)
        sync.lock(hold=0.02)
        waiter.call(lock, wanted, WRITE)
        assert sync.info().revoked == 1
        assert [access.kind for access in accesses(other)] == ["sync"]
        with pytest.raises(OSError, match=REVOKED):
            sync.unlock()
        trylock(other, READ)
        unlock(other)


def test_the_parameter_changed_while_somebody_waits(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    """A hold has the time that was set when it was asked for."""
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 600000)
    holder.call(lock, buf, WRITE)
    waiter.start(lock, buf, WRITE)
    until_waiting(waiter, buf)
    set_parameter("hold_timeout_ms", 10)
    assert waiter.running()
    holder.call(unlock, buf)  # no error: it was not revoked
    waiter.result()
    waiter.call(unlock, buf)
    waiter.call(lock, buf, WRITE)
    holder.call(lock, buf, READ)
    with pytest.raises(OSError, match=REVOKED):
        waiter.call(unlock, buf)
