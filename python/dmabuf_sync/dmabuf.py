# SPDX-License-Identifier: MIT
"""DmaBuf: a dma-buf of any exporter."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from ._asyncio import in_thread
from ._handle import Handle, poll
from ._held import Held
from ._posix_lock import Conflict, PosixLock
from ._system import NO_TIMEOUT, FileLike, Timeout, deadline_ns, descriptor, hold_ms, ioctl
from ._uapi import ffi, lib
from .access import Access, cpu_access, sync_flags
from .errors import LockRevoked, kernel_error
from .mapping import Mapping
from .sync_file import SyncFile

T = TypeVar("T")


@dataclass(frozen=True)
class BufferInfo:
    """What /proc says about a dma-buf."""

    inode: int
    """The same in every process, and never reused: names the buffer."""
    size: int
    references: int
    exporter: str
    name: str


class DmaBuf(Handle):
    """A dma-buf; takes the file descriptor over and closes it in the end, see :meth:`close`.

    fcntl locks belong to the process: two threads (or asyncio tasks) that lock the same buffer are
    one owner, both get it, and the first unlock unlocks. Threads may share the object, but need
    :class:`dmabuf_sync.Sync` to exclude each other. A child of fork() has the buffer, and none of
    the locks; what it closes unlocks nothing of its parent's.

    Closing **any** file descriptor of the buffer drops all fcntl locks of this process on it: this
    object's, a duplicate's, the one that Python's mmap.mmap makes for itself. Open-file-description
    locks (F_OFD_*) are no way out: all who share a dma-buf share one open file description, so
    they never exclude each other.

    poll() on it: readable once all fences of writers, writable once all fences have signalled; see
    :meth:`wait`.
    """

    def __init__(self, fd: int) -> None:
        """Take over `fd`; OSError (ENOTTY) leaves it alone when it is no dma-buf.

        To keep `fd` for yourself pass os.dup(fd); but then closing either of them drops this
        process's fcntl locks on the buffer.
        """
        _check_dma_buf(descriptor(fd))
        super().__init__(fd)

    def close(self) -> None:
        """Close the file descriptor; may be called again. Mappings stay good.

        It drops **all** fcntl locks that this process has on the buffer, also those taken through
        another DmaBuf or file descriptor of the same buffer, as closing any of them does.
        """
        super().close()

    # -- the buffer

    @property
    def size(self) -> int:
        """Bytes."""
        return os.lseek(self.fileno(), 0, os.SEEK_END)

    @property
    def writable(self) -> bool:
        """Whether the file descriptor is open for writing, as WRITE locks and mappings need it."""
        return fcntl.fcntl(self.fileno(), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR

    def info(self) -> BufferInfo:
        """Inode, size, references, exporter and name, from fdinfo."""
        fields: dict[str, str] = {}
        with open(f"/proc/self/fdinfo/{self.fileno()}", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                # The name comes last and may have lines of its own: they are no fields.
                fields.setdefault(key, value.strip())
        return BufferInfo(
            inode=os.fstat(self.fileno()).st_ino,
            size=int(fields["size"]),
            references=int(fields["count"]),
            exporter=fields["exp_name"],
            name=fields.get("name", ""),
        )

    @property
    def name(self) -> str:
        """Shown in fdinfo and debugfs. At most 31 bytes: EINVAL; without NUL: ValueError. Some
        kernels refuse with EBUSY while a device is attached."""
        return self.info().name

    @name.setter
    def name(self, name: str) -> None:
        if "\0" in name:
            raise ValueError(f"a name has no NUL: {name!r}")
        encoded = ffi.new("char[]", name.encode())
        ioctl(self, lib.DMA_BUF_SET_NAME_B, encoded, f"name fd {self._fd} {name!r}")

    def map(self, access: Access | None = None, *, offset: int = 0, length: int = 0) -> Mapping:
        """Map the buffer, or `length` bytes from `offset`; see :class:`Mapping`.

        `access` None is what the file descriptor allows. Mapping neither locks nor does cache
        maintenance: locked() or cpu_access() does, around every use of the memory; mapped() does
        both. Do not map a buffer with Python's mmap.mmap instead: closing that drops this process's
        fcntl locks on the buffer.
        """
        if access is None:
            access = Access.WRITE if self.writable else Access.READ
        return Mapping(self, length, offset, access)

    # -- fcntl locks

    def lock(
        self,
        access: Access,
        *,
        timeout: Timeout = None,
        blocking: bool = True,
        offset: int = 0,
        length: int = 0,
        hold: float | timedelta | None = None,
    ) -> None:
        """Lock `length` bytes from `offset` (0: to the end) for this process.

        Waits `timeout` seconds at most, not at all if `blocking` is false, and waits for fences
        that drivers have on the buffer, too. After `hold` seconds (default and maximum: see
        Control.info()) the lock may be revoked, as soon as somebody else wants the buffer. What
        this process already has of the range changes to `access`.

        Raises BlockingIOError (would have to wait), TimeoutError (waited `timeout`), Deadlock
        (waiting would close a cycle of processes), LockRevoked (an **earlier** lock of this process
        on the buffer was revoked; nothing was locked now: call again), OSError with EBADF (WRITE on
        a read-only file descriptor). LockRevoked is a TimeoutError, too: catch it first.

        Threads and asyncio tasks of this process are one owner: another one's lock is no obstacle,
        and its unlock() unlocks yours. Closing any file descriptor of the buffer unlocks, too.

        `timeout` and `hold` need the module dmabuf_sync, and the range must then be in the buffer
        (EINVAL). Without the module, fcntl locks order only those who use them: no DMA, no fences,
        no cache maintenance.
        """
        lock, deadline, hold_time = self._request(access, timeout, blocking, offset, length, hold)
        lock.take(blocking=blocking, deadline=deadline, hold_ms=hold_time)

    async def lock_async(
        self,
        access: Access,
        *,
        timeout: Timeout = None,
        offset: int = 0,
        length: int = 0,
        hold: float | timedelta | None = None,
    ) -> None:
        """As :meth:`lock`, for asyncio. Cancelling takes the request out of the kernel's queue.

        If the lock is granted just while it is being cancelled, it is given back, with all that
        this process held of the range before. Tasks of one process are one owner: they need Sync to
        exclude each other. While it waits it has a thread, which cancelling ends by a real-time
        signal that the program does not use; RuntimeError when it uses all.
        """
        lock, deadline, hold_time = self._request(access, timeout, True, offset, length, hold)
        if deadline == NO_TIMEOUT and not hold_time:
            with contextlib.suppress(BlockingIOError):
                lock.take(blocking=False)
                return

        def undo() -> None:
            with contextlib.suppress(LockRevoked, ValueError):  # ValueError: closed meanwhile
                lock.give_back()

        await in_thread(
            lambda interrupted: lock.take(
                deadline=deadline, hold_ms=hold_time, interrupted=interrupted
            ),
            undo,
        )

    def unlock(self, offset: int = 0, length: int = 0) -> None:
        """Unlock `length` bytes from `offset` (0: to the end), whatever of them was locked.

        LockRevoked when the kernel had revoked the lock: the range is unlocked all the same.
        """
        PosixLock(self, Access.READ, offset, length).give_back()

    def locked(
        self,
        access: Access,
        *,
        timeout: Timeout = None,
        blocking: bool = True,
        offset: int = 0,
        length: int = 0,
        hold: float | timedelta | None = None,
    ) -> Held[DmaBuf]:
        """lock() and unlock() around a ``with`` or ``async with`` block.

        Leaving the block raises LockRevoked when the lock had been revoked. Blocks do not nest on
        the same bytes: the inner one's end unlocks them.
        """

        return self._held(
            contextlib.nullcontext(self), access, timeout, blocking, offset, length, hold
        )

    def mapped(
        self,
        access: Access,
        *,
        timeout: Timeout = None,
        blocking: bool = True,
        offset: int = 0,
        length: int = 0,
        hold: float | timedelta | None = None,
    ) -> Held[memoryview]:
        """locked() and map() of the same bytes in one ``with`` or ``async with`` block.

        Gives a memoryview, read-only for Access.READ, without a copy; numpy.frombuffer(m, dtype)
        makes an array of it. After the block it is dead (ValueError); what was made of it still
        shows the memory, which is anybody's then: see :class:`Mapping`.
        """
        inside = self._mapping(access, offset, length)
        return self._held(inside, access, timeout, blocking, offset, length, hold)

    def test(self, access: Access, *, offset: int = 0, length: int = 0) -> Conflict | None:
        """What would keep lock() waiting now, None for nothing (F_GETLK). Locks nothing, and may
        be outdated as soon as it is known."""
        return PosixLock(self, access, offset, length).conflict()

    def _held(
        self,
        inside: AbstractContextManager[T],
        access: Access,
        timeout: Timeout,
        blocking: bool,
        offset: int,
        length: int,
        hold: float | timedelta | None,
    ) -> Held[T]:
        async def take_async() -> None:
            if blocking:
                await self.lock_async(
                    access, timeout=timeout, offset=offset, length=length, hold=hold
                )
            else:
                take()

        def take() -> None:
            self.lock(
                access, timeout=timeout, blocking=blocking, offset=offset, length=length, hold=hold
            )

        def give_back() -> None:
            if not self.closed:  # closing has unlocked
                self.unlock(offset, length)

        return Held(inside, take, take_async, give_back)

    @contextlib.contextmanager
    def _mapping(self, access: Access, offset: int, length: int) -> Iterator[memoryview]:
        with self.map(access, offset=offset, length=length) as view:
            yield view

    def _request(
        self,
        access: Access,
        timeout: Timeout,
        blocking: bool,
        offset: int,
        length: int,
        hold: float | timedelta | None,
    ) -> tuple[PosixLock, int, int]:
        if timeout is not None and not blocking:
            raise ValueError("a lock that does not wait can have no timeout")
        return PosixLock(self, access, offset, length), deadline_ns(timeout), hold_ms(hold)

    # -- what every kernel offers without our modules

    def wait(self, access: Access, timeout: Timeout = None) -> None:
        """Wait for the fences that this access has to wait for: READ the writers', WRITE all.

        TimeoutError if `timeout` seconds were too few. It locks nothing: others may begin at once.
        """
        event = select.POLLOUT if cpu_access(access) is Access.WRITE else select.POLLIN
        if not poll(self, event, deadline_ns(timeout)):
            raise kernel_error(errno.ETIMEDOUT, f"wait for the fences of fd {self._fd}")

    async def wait_async(self, access: Access) -> None:
        """As wait(), for asyncio."""
        with self.export_sync_file(access) as fences:
            await fences

    def sync_begin(self, access: Access) -> None:
        """Cache maintenance before the CPU touches the memory, after waiting for the fences
        (DMA_BUF_IOCTL_SYNC). Excludes nobody. A lock of the module dmabuf_sync includes it."""
        self._sync(lib.DMA_BUF_SYNC_START | sync_flags(access))

    def sync_end(self, access: Access) -> None:
        """Cache maintenance after it; with the same `access`."""
        self._sync(lib.DMA_BUF_SYNC_END | sync_flags(access))

    @contextlib.contextmanager
    def cpu_access(self, access: Access) -> Iterator[None]:
        """sync_begin() and sync_end() around a ``with`` block."""
        self.sync_begin(access)
        try:
            yield
        finally:
            self.sync_end(access)

    def export_sync_file(self, access: Access) -> SyncFile:
        """The fences that this access has to wait for: READ the writers', WRITE all.

        It is a snapshot: others may come a moment later, unless you hold a lock.
        """
        data = ffi.new("struct dma_buf_export_sync_file *")
        data.flags = sync_flags(access)
        ioctl(self, lib.DMA_BUF_IOCTL_EXPORT_SYNC_FILE, data, f"export fences of fd {self._fd}")
        return SyncFile._made(data.fd)

    def import_sync_file(self, sync_file: FileLike, access: Access) -> None:
        """Add the fences of `sync_file` to the buffer, as those of a reader or a writer."""
        data = ffi.new("struct dma_buf_import_sync_file *")
        data.flags = sync_flags(access)
        data.fd = descriptor(sync_file)
        ioctl(self, lib.DMA_BUF_IOCTL_IMPORT_SYNC_FILE, data, f"import fences to fd {self._fd}")

    def _sync(self, flags: int) -> None:
        data = ffi.new("struct dma_buf_sync *")
        data.flags = flags
        while True:
            try:
                ioctl(self, lib.DMA_BUF_IOCTL_SYNC, data, f"DMA_BUF_IOCTL_SYNC on fd {self._fd}")
                return
            except BlockingIOError:
                pass  # dma-buf.rst: to be called again after EAGAIN as after EINTR


def _check_dma_buf(fd: int) -> None:
    """ENOTTY unless `fd` is a dma-buf: flags that do not exist get EINVAL from every dma-buf."""
    data = ffi.new("struct dma_buf_sync *")
    data.flags = ~lib.DMA_BUF_SYNC_VALID_FLAGS_MASK & 0xFFFFFFFF
    try:
        ioctl(fd, lib.DMA_BUF_IOCTL_SYNC, data, f"fd {fd} is not a dma-buf")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
