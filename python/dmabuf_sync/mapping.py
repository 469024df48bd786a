# SPDX-License-Identifier: MIT
"""Mapping: a buffer's memory in this process."""

from __future__ import annotations

import contextlib
import mmap
import os
from types import TracebackType
from typing import Any

from ._system import FileLike, byte_range, descriptor
from ._uapi import ffi, lib
from .access import Access, cpu_access
from .errors import kernel_error


class Mapping:
    """`length` bytes of `file` from `offset`, shared with everybody who maps it.

    ``with`` gives a memoryview, so that ``m[:4] = b"abcd"``, ``numpy.frombuffer(m, ...)`` and
    ``m.cast("I")`` work without a copy. Outside of ``with`` it is in :attr:`view`; from Python 3.12
    on the Mapping itself has the buffer protocol, too. It is read-only if mapped for Access.READ.

    After close() the view itself is dead: ValueError. Views made of it (slices, numpy arrays) stay
    good, and the memory stays mapped, until the last of them is gone: nothing ever points to
    unmapped memory. But no lock protects them once you unlocked, and on a strict buffer (see
    Exporter.allocate()) touching them then is SIGBUS, which ends the process; python3 -X
    faulthandler says at which line.

    This does what Python's own mmap.mmap must not be used for: that one duplicates the file
    descriptor and closes the duplicate when unmapping, which drops **all** fcntl locks of this
    process on the buffer.

    Threads may share it; what they write into it is theirs to order.
    """

    def __init__(
        self,
        file: FileLike,
        length: int = 0,
        offset: int = 0,
        access: Access = Access.READ | Access.WRITE,
    ) -> None:
        """Map; `length` 0 is all from `offset` to the end. `offset` need not be page-aligned."""
        byte_range(offset, length)
        writable = cpu_access(access) is Access.WRITE
        fd = descriptor(file)
        if not length:
            length = os.lseek(fd, 0, os.SEEK_END) - offset
            if length <= 0:
                raise ValueError(f"there are no bytes from offset {offset} on to map")
        lead = offset % mmap.PAGESIZE
        protection = lib.PROT_READ | (lib.PROT_WRITE if writable else 0)
        memory = _map(fd, lead + length, offset - lead, protection)
        view = memoryview(memory)[lead : lead + length]
        self._view: memoryview | None = view if writable else view.toreadonly()

    @property
    def view(self) -> memoryview:
        """The bytes; ValueError once closed."""
        if self._view is None:
            raise ValueError("this Mapping is closed")
        return self._view

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._view is None

    def close(self) -> None:
        """Release the view, and the memory if no other view of it is left. May be called again."""
        view, self._view = self._view, None
        if view is not None:
            with contextlib.suppress(BufferError):  # something like a numpy array still uses it
                view.release()

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, key: Any) -> Any:
        return self.view[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view[key] = value

    def __buffer__(self, flags: int, /) -> memoryview:  # asked for by Python 3.12 and newer
        return memoryview(self.view)

    def __enter__(self) -> memoryview:
        return self.view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._view is None else f"{len(self._view)} bytes"
        return f"<Mapping {state}>"


def _map(fd: int, length: int, offset: int, protection: int) -> Any:
    """Memory as a buffer that unmaps it when the last reference goes."""
    address = ffi.new("void **")
    error = lib.uapi_mmap(address, length, protection, fd, offset)
    if error:
        raise kernel_error(-error, f"map {length} bytes of fd {fd} from offset {offset}")
    unmap = lib.uapi_munmap
    owned = ffi.gc(ffi.cast("char *", address[0]), lambda memory: unmap(memory, length), length)
    return ffi.buffer(owned, length)
