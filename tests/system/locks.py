# SPDX-License-Identifier: MIT
"""fcntl(2) locks as a plain program takes them, without the library."""

from __future__ import annotations

import fcntl
import os
import struct

READ, WRITE, UNLOCK = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid
FLOCK = struct.Struct("hhqqi4x")


def _fcntl(
    fd: int, command: int, kind: int, start: int, length: int, whence: int, pid: int
) -> bytes:
    return fcntl.fcntl(fd, command, FLOCK.pack(kind, whence, start, length, pid))


def lock(fd: int, kind: int, start: int = 0, length: int = 0, whence: int = os.SEEK_SET) -> None:
    """F_SETLKW."""
    _fcntl(fd, fcntl.F_SETLKW, kind, start, length, whence, 0)


def trylock(fd: int, kind: int, start: int = 0, length: int = 0, whence: int = os.SEEK_SET) -> None:
    """F_SETLK."""
    _fcntl(fd, fcntl.F_SETLK, kind, start, length, whence, 0)


def unlock(fd: int, start: int = 0, length: int = 0) -> None:
    trylock(fd, UNLOCK, start, length)


def test(
    fd: int, kind: int, start: int = 0, length: int = 0
) -> tuple[int, int, int, int] | None:
    """F_GETLK: (type, start, length, pid) of the conflict, None if there is none."""
    return _conflict(_fcntl(fd, fcntl.F_GETLK, kind, start, length, os.SEEK_SET, 0))


def ofd_lock(fd: int, kind: int, start: int = 0, length: int = 0, pid: int = 0) -> None:
    _fcntl(fd, F_OFD_SETLKW, kind, start, length, os.SEEK_SET, pid)


def ofd_trylock(fd: int, kind: int, start: int = 0, length: int = 0, pid: int = 0) -> None:
    _fcntl(fd, F_OFD_SETLK, kind, start, length, os.SEEK_SET, pid)


def ofd_test(
    fd: int, kind: int, start: int = 0, length: int = 0
) -> tuple[int, int, int, int] | None:
    return _conflict(_fcntl(fd, F_OFD_GETLK, kind, start, length, os.SEEK_SET, 0))


def _conflict(reply: bytes) -> tuple[int, int, int, int] | None:
    kind, _, start, length, pid = FLOCK.unpack(reply)
    return None if kind == UNLOCK else (kind, start, length, pid)


# pytest must not take the function called test for a test
test.__test__ = False  # type: ignore[attr-defined]
