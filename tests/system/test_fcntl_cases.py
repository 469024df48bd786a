# SPDX-License-Identifier: MIT
"""fcntl(2) on a dma-buf and on a tmpfs file: the same calls, the same results (C9)."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from actors import Actor
from locks import (
    F_OFD_GETLK,
    F_OFD_SETLK,
    FLOCK,
    READ,
    UNLOCK,
    WRITE,
    lock,
    ofd_trylock,
    trylock,
    unlock,
)
from locks import test as getlk
from state import accesses, counters, proc_locks

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]
SIZE = 65536
LAST = (1 << 63) - 1


@pytest.fixture
def plain() -> Iterator[int]:
    """A tmpfs file that is as long as the dma-buf.

    Actors have it by fork: one open file description for all, as it always is with a dma-buf.
    """
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        file.truncate(SIZE)
        yield file.fileno()


def call(fd: int, command: int, kind: int, start: int, length: int, whence: int) -> Any:
    """fcntl() as it is: its errno's name, or struct flock as it comes back."""
    request = FLOCK.pack(kind, whence, start, length, 0)
    try:
        return FLOCK.unpack(fcntl.fcntl(fd, command, request))
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def records(fd: int) -> list[tuple[str, str, int]]:
    return sorted(proc_locks(fd))


# Each is a sequence of (who, command, type, start, length).
SET, GET = fcntl.F_SETLK, fcntl.F_GETLK
OFD, OFDGET = F_OFD_SETLK, F_OFD_GETLK
CASES = {
    "unlock the middle": [(0, SET, WRITE, 0, 30), (0, SET, UNLOCK, 10, 10), (1, GET, WRITE, 5, 20)],
    "unlock the head": [(0, SET, READ, 0, 30), (0, SET, UNLOCK, 0, 10), (1, GET, WRITE, 0, 0)],
    "unlock the tail": [(0, SET, READ, 0, 30), (0, SET, UNLOCK, 20, 0), (1, SET, WRITE, 20, 5)],
    "unlock too much": [(0, SET, READ, 10, 5), (0, SET, UNLOCK, 0, 99), (1, SET, WRITE, 0, 0)],
    "merge neighbours": [(0, SET, READ, 0, 5), (0, SET, READ, 5, 5), (1, GET, WRITE, 0, 0)],
    "merge over a hole": [(0, SET, READ, 0, 5), (0, SET, READ, 9, 5), (0, SET, READ, 3, 8)],
    "not merged: types": [(0, SET, READ, 0, 5), (0, SET, WRITE, 5, 5), (1, GET, READ, 0, 0)],
    "upgrade the middle": [(0, SET, READ, 0, 30), (0, SET, WRITE, 10, 10), (1, GET, READ, 0, 0)],
    "downgrade the middle": [(0, SET, WRITE, 0, 30), (0, SET, READ, 9, 9), (1, SET, READ, 9, 9)],
    "upgrade refused": [(0, SET, READ, 0, 9), (1, SET, READ, 0, 9), (0, SET, WRITE, 0, 9)],
    "upgrade elsewhere": [(0, SET, READ, 0, 9), (1, SET, READ, 20, 9), (0, SET, WRITE, 0, 9)],
    "to the end": [(0, SET, WRITE, 100, 0), (1, SET, WRITE, LAST, 1), (1, SET, WRITE, 0, 100)],
    "negative length": [(0, SET, WRITE, 100, -50), (1, GET, READ, 0, 0), (1, SET, READ, 49, 1)],
    "negative below zero": [(0, SET, WRITE, 10, -11), (1, SET, WRITE, 0, 0)],
    "the last byte": [(0, SET, WRITE, LAST, 1), (1, GET, READ, 0, 0), (1, SET, READ, LAST, 0)],
    "overflow": [(0, SET, WRITE, LAST, 2), (1, GET, WRITE, 2, LAST)],
    "before the file": [(0, SET, WRITE, -1, 1), (0, GET, WRITE, -1, 1)],
    "wrong type": [(0, SET, 99, 0, 1), (0, GET, 99, 0, 1), (0, GET, -1, 0, 0)],
    "own locks are no conflict": [(0, SET, WRITE, 0, 0), (0, GET, WRITE, 0, 0)],
    "readers are no conflict": [(0, SET, READ, 0, 0), (1, GET, READ, 0, 0)],
    "first of two conflicts": [(0, SET, READ, 50, 5), (0, SET, READ, 9, 5), (1, GET, WRITE, 0, 0)],
    "descriptions against a process": [
        (0, OFD, WRITE, 0, 10), (1, SET, READ, 5, 10), (1, GET, READ, 0, 0), (1, SET, READ, 10, 5)
    ],
    "a process against descriptions": [
        (0, SET, READ, 0, 10), (1, OFD, WRITE, 9, 1), (1, OFDGET, WRITE, 0, 0), (1, OFD, READ, 9, 1)
    ],
    "one process, both kinds": [
        (0, SET, WRITE, 0, 10), (0, OFD, READ, 0, 1), (0, OFDGET, READ, 0, 0),
        (0, OFD, WRITE, 10, 1),
    ],
    "all share the description": [
        (0, OFD, WRITE, 0, 10), (1, OFD, WRITE, 0, 10), (1, OFDGET, WRITE, 0, 0),
        (1, OFD, READ, 3, 3), (0, OFD, UNLOCK, 0, 2), (1, SET, WRITE, 0, 2), (1, OFD, UNLOCK, 0, 0),
    ],
    "description split and merged": [
        (0, OFD, READ, 0, 30), (1, OFD, UNLOCK, 10, 10), (0, SET, WRITE, 5, 20),
        (0, SET, WRITE, 10, 10), (0, OFD, READ, 10, 10), (1, GET, WRITE, 0, 0),
    ],
    "description, negative and to the end": [
        (0, OFD, WRITE, 100, -50), (1, OFD, WRITE, 200, 0), (1, SET, READ, 0, 0),
        (1, GET, READ, LAST, 1), (1, SET, READ, 100, 100),
    ],
    "description, bad arguments": [
        (0, OFD, WRITE, -1, 1), (0, OFD, 99, 0, 1), (0, OFDGET, 99, 0, 1), (0, OFD, WRITE, LAST, 2)
    ],
    "one byte past": [(0, SET, WRITE, 0, 10), (1, GET, WRITE, 10, 1), (1, GET, WRITE, 9, 1)],
}


@pytest.mark.parametrize(
    ("name", "whence"),
    [(name, os.SEEK_SET) for name in CASES]
    + [
        pytest.param(
            name,
            os.SEEK_CUR,
            marks=() if name in ("to the end", "negative length", "overflow") else pytest.mark.slow,
        )
        for name in CASES
    ],
)
def test_case(buf: int, plain: int, actors: Actors, name: str, whence: int) -> None:
    pair = actors(2)
    for who, command, kind, start, length in CASES[name]:
        arguments = (command, kind, start, length, whence)
        assert pair[who].call(call, buf, *arguments) == pair[who].call(call, plain, *arguments)
        assert records(buf) == records(plain)
    pair[0].quit()
    # Those of the open file description (-1) stay for as long as that.
    assert {pid for _, _, pid in records(buf)} <= {pair[1].pid, -1}
    assert records(buf) == records(plain)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_sequence(
    buf: int, plain: int, actors: Actors, set_parameter: SetParameter, seed: int
) -> None:
    """Like "test_case", thought up by chance."""
    for name in ("max_hold_timeout_ms", "hold_timeout_ms"):
        set_parameter(name, 3_600_000)
    chance = random.Random(seed)
    crowd = actors(3)
    for _ in range(120 if seed < 3 else 5000):
        actor = chance.choice(crowd)
        command = chance.choice([SET, SET, SET, GET, OFD, OFDGET])
        setting = command in (SET, OFD)
        kind = chance.choice([READ, READ, WRITE, UNLOCK] if setting else [READ, WRITE])
        arguments = (command, kind, chance.randrange(60), chance.randrange(-10, 20), os.SEEK_SET)
        ours, theirs = (actor.call(call, fd, *arguments) for fd in (buf, plain))
        assert ours == theirs, arguments
        assert records(buf) == records(plain), arguments


def test_flock_is_something_else(buf: int, plain: int, actors: Actors) -> None:
    """It neither keeps off those who lock with fcntl() nor is kept off, nor seen, by them."""
    (other,) = actors(1)
    for fd in (buf, plain):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = counters()
        other.call(fcntl.flock, fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # of the same description
        assert other.call(getlk, fd, WRITE) is None
        other.call(trylock, fd, WRITE)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            trylock(fd, READ)
        other.call(fcntl.flock, fd, fcntl.LOCK_UN)
        assert len(records(fd)) == 1
        other.call(unlock, fd)
        assert counters()["requests"] - before["requests"] == (2 if fd == buf else 0)
    assert accesses(buf) == []


def test_seek_end_counts_from_the_size(buf: int, actors: Actors) -> None:
    """The dma-buf's size is where it is in fstat(2)."""
    (other,) = actors(1)
    end = os.fstat(buf).st_size
    trylock(buf, WRITE, 5, 10, os.SEEK_END)
    assert other.call(getlk, buf, READ) == (WRITE, end + 5, 10, os.getpid())


@pytest.mark.parametrize("kind", [READ, WRITE, UNLOCK])
def test_open_file_description_takes_no_pid(buf: int, kind: int) -> None:
    with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
        ofd_trylock(buf, kind, pid=os.getpid())
    assert accesses(buf) == []


def test_closed_descriptor(buf: int) -> None:
    spare = os.dup(buf)
    os.close(spare)
    assert call(spare, SET, READ, 0, 0, os.SEEK_SET) == "EBADF"


@pytest.mark.parametrize("cloexec", [False, True])
def test_exec(buf: int, actors: Actors, cloexec: bool) -> None:
    """exec() keeps locks, and closes what is marked so; then they go (C8)."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    (child,) = actors(1)
    program = child.call(_exec_holder, buf, writing, cloexec)
    assert os.read(reading, 1) == b"x"  # the new program runs
    try:
        if cloexec:
            trylock(buf, WRITE)
            unlock(buf)
        else:
            assert [access.pid for access in accesses(buf)] == [program]
            with pytest.raises(BlockingIOError):
                trylock(buf, READ)
    finally:
        os.kill(program, signal.SIGKILL)
        child.call(os.waitpid, program, 0)
        os.close(reading)
        os.close(writing)
    trylock(buf, WRITE)


def _exec_holder(fd: int, signal_fd: int, cloexec: bool) -> int:
    pid = os.fork()
    if pid == 0:
        os.set_inheritable(fd, not cloexec)
        lock(fd, WRITE)
        os.execvp("sh", ["sh", "-c", f"printf x >/proc/self/fd/{signal_fd}; exec sleep 60"])
    return pid
