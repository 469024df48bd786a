# SPDX-License-Identifier: MIT
"""Exporter: the virtual dma-buf exporter /dev/vdmabuf of the kernel module vdmabuf."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ._handle import Handle
from ._system import FileLike, c_string, descriptor, ioctl, open_device, unsigned
from ._uapi import ffi, lib
from .dmabuf import DmaBuf


@dataclass(frozen=True)
class ExporterInfo:
    """Version, capabilities and limits of the module. Sizes are bytes."""

    abi_version: int
    capabilities: int
    max_size: int
    page_size: int
    """Sizes and offsets are multiples of it."""


class Exporter(Handle):
    """Makes dma-bufs of fresh pages or of a memfd. Threads may share it.

    The buffers outlive it.
    """

    PATH = "/dev/vdmabuf"

    def __init__(self) -> None:
        super().__init__(open_device(self.PATH, "the kernel module vdmabuf"))

    def info(self) -> ExporterInfo:
        """Ask the module what it can do."""
        query = ffi.new("struct vdmabuf_query *")
        ioctl(self, lib.VDMABUF_IOC_QUERY, query, "query /dev/vdmabuf")
        return ExporterInfo(
            abi_version=query.abi_version,
            capabilities=query.capabilities,
            max_size=query.max_size,
            page_size=query.page_size,
        )

    def allocate(
        self,
        size: int,
        name: str = "",
        *,
        writable: bool = True,
        coherent: bool = False,
        strict: bool = False,
    ) -> DmaBuf:
        """A buffer of `size` zero bytes; `name`, 31 bytes at most, shows in fdinfo and debugfs.

        If not `writable`, its file descriptor is read-only and WRITE locks on it fail with EBADF.
        A `coherent` one needs no cache maintenance, and may be slow for the CPU. What is mapped of
        a `strict` one can be touched only with a lock of the right kind on it: else SIGBUS.

        The memory comes with the first mapping, by the CPU or a device, which fails with ENOMEM if
        there is none. OSError: EINVAL `size` is zero or no multiple of the page size; EMSGSIZE too
        large; ENOSPC too many buffers; EOPNOTSUPP `strict` without the module dmabuf_sync.
        """
        data = ffi.new("struct vdmabuf_alloc *")
        data.size = unsigned(size, 64, "size")
        data.flags = (lib.VDMABUF_ALLOC_COHERENT if coherent else 0) | (
            lib.VDMABUF_ALLOC_STRICT if strict else 0
        )
        data.fd_flags = _fd_flags(writable)
        data.name = c_string(name, ffi.sizeof(data.name), "name")
        ioctl(self, lib.VDMABUF_IOC_ALLOC, data, f"allocate {size} bytes from /dev/vdmabuf")
        return DmaBuf._made(data.fd)

    def from_memfd(
        self, memfd: FileLike, offset: int = 0, size: int | None = None, *, writable: bool = True
    ) -> DmaBuf:
        """A buffer of `size` bytes of a memfd from `offset` (None: to its end), without a copy.

        The memfd must have F_SEAL_SHRINK and not F_SEAL_WRITE (fcntl.F_ADD_SEALS); it may be closed
        afterwards. OSError: EINVAL also for a window that is empty, not in whole pages or not in
        the file; EBADF the memfd is not open for writing.
        """
        data = ffi.new("struct vdmabuf_from_memfd *")
        data.memfd = descriptor(memfd)
        data.offset = unsigned(offset, 64, "offset")
        if size is None:
            size = max(os.fstat(data.memfd).st_size - offset, 0)
        data.size = unsigned(size, 64, "size")
        data.fd_flags = _fd_flags(writable)
        ioctl(self, lib.VDMABUF_IOC_FROM_MEMFD, data, f"make a dma-buf of memfd {data.memfd}")
        return DmaBuf._made(data.fd)


def _fd_flags(writable: bool) -> int:
    return os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY)
