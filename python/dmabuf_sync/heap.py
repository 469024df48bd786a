# SPDX-License-Identifier: MIT
"""Heap and Udmabuf: dma-bufs from the kernel's own allocators. Need none of our modules."""

from __future__ import annotations

import fcntl
import os

from ._handle import Handle
from ._system import FileLike, descriptor, ioctl, open_device, unsigned
from ._uapi import ffi, lib
from .dmabuf import DmaBuf

HEAPS = "/dev/dma_heap"


def heaps() -> tuple[str, ...]:
    """Names of the dma-heaps of this machine."""
    try:
        return tuple(sorted(os.listdir(HEAPS)))
    except FileNotFoundError:
        return ()


class Heap(Handle):
    """A dma-heap (/dev/dma_heap/NAME). Threads may share it. The buffers outlive it."""

    def __init__(self, name: str = "system") -> None:
        """Open the heap `name`, one of :func:`heaps`; FileNotFoundError if there is none."""
        if "/" in name or name in ("", ".", ".."):
            raise ValueError(f"{name!r} cannot be the name of a dma-heap")
        self.name = name
        super().__init__(open_device(f"{HEAPS}/{name}", f"the dma-heap {name} of the kernel"))

    def allocate(self, size: int, name: str = "") -> DmaBuf:
        """A buffer of `size` zero bytes, rounded up to whole pages; see DmaBuf.name.

        OSError: EINVAL `size` is zero or larger than the machine's memory; ENOMEM.
        """
        data = ffi.new("struct dma_heap_allocation_data *")
        data.len = unsigned(size, 64, "size")
        data.fd_flags = os.O_RDWR | os.O_CLOEXEC
        ioctl(self, lib.DMA_HEAP_IOCTL_ALLOC, data, f"allocate {size} bytes from heap {self.name}")
        buffer = DmaBuf._made(data.fd)
        if name:
            try:
                buffer.name = name
            except BaseException:
                buffer.close()
                raise
        return buffer


class Udmabuf(Handle):
    """/dev/udmabuf: dma-bufs of memfds. Threads may share it. The buffers outlive it."""

    PATH = "/dev/udmabuf"

    def __init__(self) -> None:
        super().__init__(open_device(self.PATH, "the kernel module udmabuf"))

    def allocate(self, size: int, name: str = "dmabuf-sync") -> DmaBuf:
        """A buffer of `size` zero bytes, a multiple of the page size (EINVAL), in a new memfd."""
        memfd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memfd, unsigned(size, 63, "size"))
            fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            return self.from_memfd(memfd, 0, size)
        finally:
            os.close(memfd)

    def from_memfd(self, memfd: FileLike, offset: int, size: int) -> DmaBuf:
        """A buffer of `size` bytes of a memfd from `offset`, both in whole pages (EINVAL).

        The memfd must have F_SEAL_SHRINK and not F_SEAL_WRITE; it may be closed afterwards.
        """
        data = ffi.new("struct udmabuf_create *")
        data.memfd = descriptor(memfd)
        data.flags = lib.UDMABUF_FLAGS_CLOEXEC
        data.offset = unsigned(offset, 64, "offset")
        data.size = unsigned(size, 64, "size")
        doing = f"make a dma-buf of memfd {data.memfd} with /dev/udmabuf"
        return DmaBuf._made(ioctl(self, lib.UDMABUF_CREATE, data, doing))
