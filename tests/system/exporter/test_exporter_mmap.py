# SPDX-License-Identifier: MIT
"""dma-bufs of vdmabuf in the memory of a process."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
from collections.abc import Callable

from dma_device import DmaDevice
from exporter_calls import (
    LIBC,
    PAGE,
    SIZE,
    alloc,
    closing,
    from_memfd,
    page_numbers,
    refused,
)

READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
MREMAP_MAYMOVE = 1
for function in (LIBC.mmap, LIBC.mremap):
    function.restype = ctypes.c_size_t


class Mapping:
    """mmap(2) with all its flags, and what changes a mapping afterwards."""

    def __init__(self, fd: int, size: int, protection: int, flags: int, offset: int = 0) -> None:
        self.size = size
        self.address = checked(
            LIBC.mmap(None, ctypes.c_size_t(size), protection, flags, fd, ctypes.c_long(offset))
        )

    def protect(self, protection: int) -> None:
        checked(LIBC.mprotect(ctypes.c_void_p(self.address), self.size, protection) & 2**64 - 1)

    def resize(self, size: int) -> None:
        self.address = checked(
            LIBC.mremap(
                ctypes.c_void_p(self.address),
                ctypes.c_size_t(self.size),
                ctypes.c_size_t(size),
                MREMAP_MAYMOVE,
            )
        )
        self.size = size

    def read(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    def unmap(self, first: int = 0, size: int | None = None) -> None:
        size = self.size if size is None else size
        assert LIBC.munmap(ctypes.c_void_p(self.address + first), ctypes.c_size_t(size)) == 0


def checked(result: int) -> int:
    if result == 2**64 - 1:
        raise OSError(ctypes.get_errno(), "memory")
    return result


def test_mmap_part(device: int) -> None:
    with closing(alloc(device)) as fd:
        with mmap.mmap(fd, SIZE) as m:
            m[:] = page_numbers(16)
        for first in range(16):
            for count in {1, 2, 16 - first} - {17 - first}:
                with mmap.mmap(fd, count * PAGE, offset=first * PAGE) as m:
                    assert m[:] == page_numbers(count, first)
        with mmap.mmap(fd, PAGE, offset=5 * PAGE) as m:
            m[8:12] = b"here"
        with mmap.mmap(fd, SIZE) as m:
            assert m[5 * PAGE + 8 : 5 * PAGE + 12] == b"here"


def test_mmap_outside(device: int) -> None:
    with closing(alloc(device)) as fd:
        for size, offset in (
            (SIZE + PAGE, 0),
            (PAGE, SIZE),
            (2 * PAGE, SIZE - PAGE),
            (PAGE, 2**62),
        ):
            with refused(errno.EINVAL):
                Mapping(fd, size, mmap.PROT_READ, mmap.MAP_SHARED, offset)
        part = Mapping(fd, PAGE, READ_WRITE, mmap.MAP_SHARED, 3 * PAGE)
        with refused(errno.EFAULT):
            part.resize(2 * PAGE)
        part.unmap()


def test_mmap_cut_in_two(device: int) -> None:
    with closing(alloc(device)) as fd:
        with mmap.mmap(fd, SIZE) as m:
            m[:] = page_numbers(16)
        whole = Mapping(fd, SIZE, READ_WRITE, mmap.MAP_SHARED)
        whole.unmap(4 * PAGE, 2 * PAGE)
        assert ctypes.string_at(whole.address, 4 * PAGE) == page_numbers(4)
        assert ctypes.string_at(whole.address + 6 * PAGE, 10 * PAGE) == page_numbers(10, 6)
        whole.unmap()


def test_mmap_without_faults(device: int) -> None:
    """All of it is there at once."""
    with closing(alloc(device, 4 << 20)) as fd, mmap.mmap(fd, 4 << 20) as m:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        assert m[::PAGE] == bytes(1024)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt < before + 64


def test_mmap_outlives_the_file_descriptor(device: int) -> None:
    fd = alloc(device)
    m = Mapping(fd, SIZE, READ_WRITE, mmap.MAP_SHARED)
    os.close(fd)
    assert not any(m.read())
    m.unmap()


def test_mmap_is_inherited(device: int) -> None:
    with closing(alloc(device)) as fd, mmap.mmap(fd, SIZE) as m:
        child = os.fork()
        if child == 0:
            m[PAGE] = 7
            os._exit(0)
        os.waitpid(child, 0)
        assert m[PAGE] == 7


def test_readonly(device: int, memfd: int) -> None:
    with closing(from_memfd(device, memfd, fd_flags=os.O_RDONLY)) as fd:
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            m = Mapping(fd, SIZE, mmap.PROT_READ, flags)
            assert m.read() == page_numbers(16)
            with refused(errno.EACCES):
                m.protect(READ_WRITE)
            m.unmap()
        with refused(errno.EACCES):
            Mapping(fd, SIZE, READ_WRITE, mmap.MAP_SHARED)
        with refused(errno.EINVAL):
            Mapping(fd, SIZE, READ_WRITE, mmap.MAP_PRIVATE)


def test_readonly_through_an_importer(
    device: int, memfd: int, devices: Callable[..., DmaDevice]
) -> None:
    """Its own file can be written, and leads to a buffer that cannot."""
    one = devices()
    with closing(from_memfd(device, memfd, fd_flags=os.O_RDONLY)) as fd:
        one.attach(fd)
        m = Mapping(one.fd, SIZE, mmap.PROT_READ, mmap.MAP_SHARED)
        assert m.read() == page_numbers(16)
        with refused(errno.EACCES):
            m.protect(READ_WRITE)
        m.unmap()
        with refused(errno.EACCES):
            Mapping(one.fd, SIZE, READ_WRITE, mmap.MAP_SHARED)
        one.close()


def test_private(device: int, memfd: int) -> None:
    with closing(from_memfd(device, memfd)) as fd:
        m = Mapping(fd, 2 * PAGE, mmap.PROT_READ, mmap.MAP_PRIVATE, 4 * PAGE)
        assert m.read() == page_numbers(2, 4)
        with refused(errno.EACCES):
            m.protect(READ_WRITE)
        m.unmap()
        with refused(errno.EINVAL):
            Mapping(fd, PAGE, READ_WRITE, mmap.MAP_PRIVATE)
        shared = Mapping(fd, PAGE, mmap.PROT_READ, mmap.MAP_SHARED)
        shared.protect(READ_WRITE)
        ctypes.memset(shared.address, 1, 1)
        shared.unmap()
        assert os.pread(memfd, 1, 0) == b"\1"
