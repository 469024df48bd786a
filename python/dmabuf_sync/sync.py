# SPDX-License-Identifier: MIT
"""Sync: a sync object of the kernel module dmabuf_sync, which locks several buffers at once."""

from __future__ import annotations

import contextlib
import enum
import errno
import select
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from ._asyncio import ready
from ._handle import Handle, poll
from ._held import Held
from ._system import (
    NO_TIMEOUT,
    FileLike,
    Timeout,
    byte_range,
    c_string,
    deadline_ns,
    descriptor,
    hold_ms,
    ioctl,
)
from ._uapi import ffi, lib
from .access import Access
from .control import shared_control
from .errors import kernel_error, revoked


class SyncState(enum.Enum):
    """What a sync object is doing."""

    IDLE = lib.DMABUF_SYNC_STATE_IDLE
    WAITING = lib.DMABUF_SYNC_STATE_WAITING
    LOCKED = lib.DMABUF_SYNC_STATE_LOCKED
    FAILED = lib.DMABUF_SYNC_STATE_FAILED
    """A lock asked for with request() failed; see SyncInfo.error."""


@dataclass(frozen=True)
class SyncInfo:
    """A sync object at one moment."""

    state: SyncState
    buffers: int
    revoked: int
    """How many of its buffers were taken away since it was locked."""
    error: int
    """0, or the errno with which request() failed, negative."""


class Sync(Handle):
    """A set of buffers that are locked together or not at all, so that no order can deadlock.

    The sync object is the owner: one Sync for each thread or task makes threads exclude each other,
    and processes, and DMA. Threads may share one Sync as they may share an unlocked door: whoever
    locks it while it is locked or waiting gets EBUSY, and any thread may unlock it.

    A process that holds an fcntl lock on a buffer and then waits with a Sync for the same buffer
    waits for itself (until its fcntl lock is revoked): they are different owners. So are two Syncs;
    who holds one and waits with another can wait in a circle, which is no Deadlock but ends
    when a hold is revoked. Put all buffers into one.

    Closing it unlocks, unless another process has it (a child of fork() has, until it closes it or
    executes another program): then the last one who closes it does. unlock() always unlocks.

    poll() on it: readable once a lock asked for with request() is held or has failed; ``await``
    waits for that. ``async with sync.locked()`` asks and waits.
    """

    def __init__(self, name: str = "", *, cache: bool = True) -> None:
        """Make an empty one; `name`, 31 bytes at most, shows in traces and debugfs.

        Without `cache`, locking does no cache maintenance: do it with DmaBuf.cpu_access().
        """
        data = ffi.new("struct dmabuf_sync_create *")
        data.name = c_string(name, ffi.sizeof(data.name), "name")
        data.flags = 0 if cache else lib.DMABUF_SYNC_CREATE_NO_CACHE
        ioctl(shared_control(), lib.DMABUF_SYNC_IOC_CREATE, data, "make a sync object")
        self.name = name
        super().__init__(data.fd)

    @classmethod
    def from_fd(cls, fd: int, name: str = "") -> Self:
        """Take over the file descriptor of a sync object that another process has passed on.

        Both are one owner: whoever locks it has it locked for both, and either may unlock. `name`
        is for this side's messages only. OSError (ENOTTY) leaves `fd` alone if it is something
        else.
        """
        ioctl(fd, lib.DMABUF_SYNC_IOC_INFO, _new_info(), f"fd {fd} is not a sync object")
        sync = cls.__new__(cls)
        sync.name = name
        Handle.__init__(sync, fd)
        return sync

    def add(self, buffer: FileLike, access: Access, *, offset: int = 0, length: int = 0) -> None:
        """Add `length` bytes of a dma-buf from `offset` (0: to its end).

        The sync object keeps the buffer alive until remove() or close(). OSError: EEXIST is in it
        already; EBUSY it is locked or waiting; EBADF the file descriptor is not open, or read-only
        and `access` writes; EINVAL no dma-buf, or the range is not in it; ENOSPC full.
        """
        if not isinstance(access, Access):
            raise TypeError(f"access must be an Access, not {access!r}")
        byte_range(offset, length)
        data = ffi.new("struct dmabuf_sync_add *")
        data.fd = descriptor(buffer)
        data.access = access.value
        data.offset = offset
        data.length = length
        ioctl(self, lib.DMABUF_SYNC_IOC_ADD, data, f"add fd {data.fd} to {self!r}")

    def remove(self, buffer: FileLike) -> None:
        """Take a buffer out. OSError: ENOENT is not in it; EBUSY it is locked or waiting."""
        data = ffi.new("struct dmabuf_sync_remove *")
        data.fd = descriptor(buffer)
        ioctl(self, lib.DMABUF_SYNC_IOC_REMOVE, data, f"remove fd {data.fd} from {self!r}")

    def lock(
        self,
        *,
        timeout: Timeout = None,
        blocking: bool = True,
        hold: float | timedelta | None = None,
    ) -> None:
        """Lock all buffers, holding none of them while waiting.

        Waits `timeout` seconds at most, not at all if `blocking` is false. After `hold` seconds
        (default and maximum: see Control.info()) a buffer may be revoked, as soon as somebody else
        wants it.

        Raises BlockingIOError, TimeoutError, LockRevoked (it was still locked, and a buffer had
        been revoked: it is unlocked now), OSError with EBUSY (locked or waiting already) or EINVAL
        (empty). LockRevoked is a TimeoutError, too: catch it first.
        """
        if timeout is not None and not blocking:
            raise ValueError("a lock that does not wait can have no timeout")
        deadline = deadline_ns(timeout)
        if not blocking or deadline != NO_TIMEOUT:
            # ETIMEDOUT means one thing only in a call that does not wait: a revoked lock.
            try:
                self._lock(lib.DMABUF_SYNC_LOCK_NONBLOCK, NO_TIMEOUT, hold_ms(hold))
                return
            except BlockingIOError:
                if not blocking:
                    raise
        self._lock(0, deadline, hold_ms(hold))

    def request(self, *, hold: float | timedelta | None = None) -> None:
        """Ask for the lock and return at once; wait() or ``await`` tells when it is there.

        unlock() takes the request back, or gives back what it got.
        """
        self._lock(lib.DMABUF_SYNC_LOCK_ASYNC, NO_TIMEOUT, hold_ms(hold))

    def wait(self, timeout: Timeout = None) -> None:
        """Wait until the lock asked for with request() is held.

        TimeoutError if that takes longer than `timeout` seconds; the request stays. OSError if it
        failed, with its errno, and with EPERM if there is no request. Nobody wakes a thread that
        waits here for a request that another one takes back.
        """
        deadline = deadline_ns(timeout)
        if self.info().state is SyncState.WAITING and not poll(self, select.POLLIN, deadline):
            raise kernel_error(errno.ETIMEDOUT, f"wait for {self!r}")
        self._check_locked()

    def __await__(self) -> Generator[Any, None, None]:
        """wait() for asyncio. Cancelling leaves the request; lock_async() takes it back."""
        return self._wait_async().__await__()

    async def _wait_async(self) -> None:
        if self.info().state is SyncState.WAITING:
            await ready(self, select.POLLIN)
        self._check_locked()

    def _check_locked(self) -> None:
        info = self.info()
        if info.state is not SyncState.LOCKED:
            raise kernel_error(-info.error or errno.EPERM, f"lock {self!r}")

    async def lock_async(
        self, *, timeout: Timeout = None, hold: float | timedelta | None = None
    ) -> None:
        """As lock(), for asyncio. Cancelling takes the request, or a lock that just came, back."""
        import asyncio

        deadline = deadline_ns(timeout)
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self.request(hold=hold)
        try:
            if deadline == NO_TIMEOUT:
                seconds = None
            async with asyncio.timeout(seconds):
                await ready(self, select.POLLIN)
            self._check_locked()
        except BaseException as error:
            with contextlib.suppress(OSError, ValueError):  # failed, revoked or closed: unlocked
                self.unlock()
            if isinstance(error, TimeoutError) and error.errno is None:
                raise kernel_error(errno.ETIMEDOUT, f"lock {self!r}") from None
            raise

    def unlock(self) -> None:
        """Give all buffers back, or a request().

        LockRevoked when some had been revoked: all are unlocked, but what was done under the lock
        was not protected to its end. OSError with EPERM when it is not locked.
        """
        try:
            ioctl(self, lib.DMABUF_SYNC_IOC_UNLOCK, ffi.NULL, f"unlock {self!r}")
        except TimeoutError:
            raise revoked(f"unlock {self!r}") from None

    def locked(
        self,
        *,
        timeout: Timeout = None,
        blocking: bool = True,
        hold: float | timedelta | None = None,
    ) -> Held[Sync]:
        """lock() and unlock() around a ``with`` or ``async with`` block.

        Leaving the block raises LockRevoked when a buffer had been revoked.
        """

        def take() -> None:
            self.lock(timeout=timeout, blocking=blocking, hold=hold)

        async def take_async() -> None:
            if blocking:
                await self.lock_async(timeout=timeout, hold=hold)
            else:
                take()

        def give_back() -> None:
            if not self.closed:  # closing has unlocked
                self.unlock()

        return Held(contextlib.nullcontext(self), take, take_async, give_back)

    def info(self) -> SyncInfo:
        """What it is doing now."""
        info = _new_info()
        ioctl(self, lib.DMABUF_SYNC_IOC_INFO, info, f"ask about {self!r}")
        return SyncInfo(
            state=SyncState(info.state),
            buffers=info.buffers,
            revoked=info.revoked,
            error=info.error,
        )

    def _lock(self, flags: int, deadline: int, hold_time: int) -> None:
        data = ffi.new("struct dmabuf_sync_lock *")
        data.flags = flags
        data.hold_timeout_ms = hold_time
        data.timeout_ns = deadline
        try:
            ioctl(self, lib.DMABUF_SYNC_IOC_LOCK, data, f"lock {self!r}")
        except TimeoutError:
            # A revoked lock is reported at once, the end of the wait only after the deadline.
            if flags or time.monotonic_ns() < deadline:
                raise revoked(f"lock {self!r}") from None
            raise


def _new_info() -> Any:
    return ffi.new("struct dmabuf_sync_info *")
