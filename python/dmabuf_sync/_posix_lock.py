# SPDX-License-Identifier: MIT
"""PosixLock: an fcntl lock of this process on a file, with a timeout where the module offers it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._system import NO_TIMEOUT, FileLike, byte_range, descriptor
from ._uapi import ffi, lib
from .access import Access, cpu_access
from .control import shared_control
from .errors import kernel_error, revoked


@dataclass(frozen=True)
class Conflict:
    """A lock that stands in the way."""

    access: Access
    offset: int
    length: int
    """Bytes; 0 for all to the end, wherever that is."""
    pid: int
    """The process that holds it, or that locked the Sync or submitted the DMA job that does; -1 for
    an open file description or a driver."""


class Interrupted(Exception):
    """Waiting was given up because `interrupted` said so; nothing was locked."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class PosixLock:
    """What to lock: `length` bytes of `file` from `offset`, 0 for all to the end."""

    file: FileLike
    access: Access
    offset: int = 0
    length: int = 0

    def __post_init__(self) -> None:
        cpu_access(self.access)
        byte_range(self.offset, self.length)

    def take(
        self,
        *,
        blocking: bool = True,
        deadline: int = NO_TIMEOUT,
        hold_ms: int = 0,
        interrupted: Callable[[], bool] = _never,
    ) -> None:
        """Take the lock, waiting until the CLOCK_MONOTONIC time `deadline` (ns) at most.

        `interrupted` is asked whenever a signal has ended a system call.
        """
        if deadline == NO_TIMEOUT and not hold_ms:
            self._fcntl(lib.F_SETLKW if blocking else lib.F_SETLK, interrupted)
            return
        shared_control()  # no module: say so now, not only once the buffer is busy
        # ETIMEDOUT has two meanings in a call that waits and one in a call that does not. So the
        # first does not: it tells of a hold that was revoked, however short the time to wait.
        try:
            if hold_ms:
                self._timed_lock(_DO_NOT_WAIT, hold_ms, interrupted)
            else:
                self._fcntl(lib.F_SETLK, interrupted)
        except BlockingIOError:
            if not blocking:
                raise
            self._timed_lock(deadline, hold_ms, interrupted)

    def give_back(self) -> None:
        """Unlock the range; LockRevoked when the kernel had taken it away."""
        self._fcntl(lib.F_SETLK, _never, lib.F_UNLCK)

    def conflict(self) -> Conflict | None:
        """What would keep take() waiting now, None when nothing does."""
        flock = self._fcntl(lib.F_GETLK, _never)
        if flock.l_type == lib.F_UNLCK:
            return None
        access = Access.WRITE if flock.l_type == lib.F_WRLCK else Access.READ
        return Conflict(access, flock.l_start, flock.l_len, flock.l_pid)

    def _fcntl(self, command: int, interrupted: Callable[[], bool], kind: int | None = None) -> Any:
        if kind is None:
            kind = lib.F_WRLCK if self.access & Access.WRITE else lib.F_RDLCK
        flock = ffi.new("struct flock *")
        flock.l_type = kind
        flock.l_whence = os.SEEK_SET
        flock.l_start = self.offset
        flock.l_len = self.length
        doing = f"{'unlock' if kind == lib.F_UNLCK else 'lock'} fd {descriptor(self.file)}"
        result = _EINTR
        while result == _EINTR:
            if interrupted():
                raise Interrupted
            result = lib.uapi_fcntl_lock(descriptor(self.file), command, flock)
        if result == -errno.ETIMEDOUT:
            raise revoked(doing)
        if result < 0:
            raise kernel_error(-result, doing)
        return flock

    def _timed_lock(self, deadline: int, hold_ms: int, interrupted: Callable[[], bool]) -> None:
        request = ffi.new("struct dmabuf_sync_timed_lock *")
        request.fd = descriptor(self.file)
        request.access = cpu_access(self.access).value
        request.start = self.offset
        request.length = self.length
        request.timeout_ns = deadline
        request.hold_timeout_ms = hold_ms
        control = shared_control()
        doing = f"lock fd {request.fd}"
        result = _EINTR
        while result == _EINTR:
            if interrupted():
                raise Interrupted
            result = lib.uapi_ioctl(control.fileno(), lib.DMABUF_SYNC_IOC_TIMED_LOCK, request)
        # A revoked hold is reported at once, the end of the wait only after the deadline.
        if result == -errno.ETIMEDOUT and (
            deadline == _DO_NOT_WAIT or time.monotonic_ns() < deadline
        ):
            raise revoked(doing)
        if result < 0:
            raise kernel_error(-result, doing)


_EINTR = -errno.EINTR
_DO_NOT_WAIT = 0  # as deadline: EAGAIN instead of waiting, so that ETIMEDOUT means revoked
