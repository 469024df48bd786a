# SPDX-License-Identifier: MIT
"""How fcntl(2) locks and waits end, and what they outlive (C8, C9)."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from actors import Actor, until
from locks import FLOCK, READ, WRITE, lock, ofd_lock, trylock, unlock
from state import accesses, proc_locks, until_waiting, waiting

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]


@pytest.mark.parametrize("how", ["close", "exit", "kill", "close of a duplicate"])
def test_death_releases(buf: int, actors: Actors, how: str) -> None:
    holder, waiter = actors(2)
    holder.call(lock, buf, WRITE)
    waiter.start(lock, buf, WRITE)
    until_waiting(waiter, buf)
    if how == "close":
        holder.call(os.close, buf)
    elif how == "exit":
        holder.quit()
    elif how == "kill":
        holder.kill()
    else:
        duplicate = holder.call(os.dup, buf)
        assert waiter.running()
        holder.call(os.close, duplicate)
    waiter.result()


def test_killed_waiter_leaves_the_queue(buf: int, actors: Actors) -> None:
    holder, doomed, next_one = actors(3)
    holder.call(lock, buf, READ)
    doomed.start(lock, buf, WRITE)
    until_waiting(doomed, buf)
    next_one.start(lock, buf, READ)
    until_waiting(next_one, buf)
    doomed.kill()
    next_one.result()
    assert waiting(buf) == []


def _lock_interrupted(fd: int, restart: bool) -> str:
    """Lock with a signal handler installed; which error, if any."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, not restart)
    libc = ctypes.CDLL(None, use_errno=True)
    request = ctypes.create_string_buffer(FLOCK.pack(WRITE, os.SEEK_SET, 0, 0, 0))
    if libc.fcntl(fd, 7, request) == 0:  # F_SETLKW, without Python's own retries
        return "granted"
    return errno.errorcode[ctypes.get_errno()]


def test_interrupted_request_leaves_nothing(buf: int, actors: Actors) -> None:
    (waiter,) = actors(1)
    lock(buf, READ)
    waiter.start(_lock_interrupted, buf, False)
    until_waiting(waiter, buf)
    waiter.send_signal(signal.SIGUSR1)
    assert waiter.result() == "EINTR"
    assert [a.pid for a in accesses(buf)] == [os.getpid()]
    assert proc_locks(buf) == [("POSIX", "READ", os.getpid())]


def test_sa_restart_waits_on(buf: int, actors: Actors) -> None:
    (waiter,) = actors(1)
    lock(buf, WRITE)
    waiter.start(_lock_interrupted, buf, True)
    until_waiting(waiter, buf)
    waiter.send_signal(signal.SIGUSR1)
    until_waiting(waiter, buf)
    unlock(buf)
    assert waiter.result() == "granted"


def test_fork_does_not_inherit(buf: int, actors: Actors) -> None:
    lock(buf, WRITE)
    (child,) = actors(1)
    with pytest.raises(BlockingIOError):
        child.call(trylock, buf, READ)
    child.kill()
    assert proc_locks(buf) == [("POSIX", "WRITE", os.getpid())]


def test_exec_keeps(buf: int, actors: Actors) -> None:
    os.set_inheritable(buf, True)
    child = subprocess.Popen(
        [
            "python3",
            "-c",
            "import fcntl, os, sys\n"
            f"fcntl.lockf({buf}, fcntl.LOCK_EX)\n"
            "os.execvp('cat', ['cat'])\n",
        ],
        stdin=subprocess.PIPE,
        close_fds=False,
    )
    try:
        until(
            lambda: [a.comm for a in accesses(buf) if a.pid == child.pid] == ["cat"],
            "exec with the lock held",
        )
        with pytest.raises(BlockingIOError):
            trylock(buf, READ)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    trylock(buf, READ)


def test_ofd_lock_ends_with_the_file(bufs: Buffers, actors: Actors) -> None:
    (fd,) = bufs(1)
    ofd_lock(fd, WRITE)
    assert len(accesses(fd)) == 1
    os.close(fd)
    until(lambda: not accesses(), "release by the last close")


def test_the_record_of_a_holder_outlives_other_closers(buf: int, actors: Actors) -> None:
    holder, closer = actors(2)
    holder.call(lock, buf, WRITE)
    closer.call(os.close, buf)
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)


def test_stopped_waiter_does_not_hold_up_the_queue(buf: int, actors: Actors) -> None:
    holder, frozen, last = actors(3)
    holder.call(lock, buf, READ)
    frozen.start(lock, buf, WRITE)
    until_waiting(frozen, buf)
    last.start(lock, buf, READ)
    until_waiting(last, buf)
    frozen.send_signal(signal.SIGSTOP)
    last.result()  # a stopped process has left the queue
    frozen.send_signal(signal.SIGCONT)
    until_waiting(frozen, buf)  # and comes back at its end
    holder.call(unlock, buf)
    last.call(unlock, buf)
    frozen.result()
