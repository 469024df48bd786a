# SPDX-License-Identifier: MIT
"""dma-bufs that vdmabuf makes of parts of a memfd."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path

import pytest
from exporter_calls import (
    LIBC,
    PAGE,
    SIZE,
    alloc,
    closing,
    from_memfd,
    memfd_of,
    page_numbers,
    refused,
)

F_SEAL_FUTURE_WRITE = 0x10
PUNCH_HOLE = 0x01 | 0x02  # it needs FALLOC_FL_KEEP_SIZE


def test_memfd_window(device: int, memfd: int) -> None:
    """Every window, and every byte of it is the memfd's."""
    for first in range(16):
        for count in range(1, 17 - first):
            with closing(from_memfd(device, memfd, first * PAGE, count * PAGE)) as fd:
                assert os.fstat(fd).st_size == count * PAGE
                with mmap.mmap(fd, count * PAGE) as m:
                    assert m[:] == page_numbers(count, first)


def test_memfd_is_shared(device: int, memfd: int) -> None:
    with closing(from_memfd(device, memfd, 2 * PAGE, PAGE)) as fd, mmap.mmap(fd, PAGE) as m:
        os.pwrite(memfd, b"memfd", 2 * PAGE + 100)
        assert m[100:105] == b"memfd"
        m[200:206] = b"dmabuf"
        assert os.pread(memfd, 6, 2 * PAGE + 200) == b"dmabuf"


def test_memfd_outlived(device: int) -> None:
    source = memfd_of(page_numbers(4), fcntl.F_SEAL_SHRINK)
    fd = from_memfd(device, source, 0, 4 * PAGE)
    os.close(source)
    with closing(fd), mmap.mmap(fd, 4 * PAGE) as m:
        assert m[:] == page_numbers(4)


def test_memfd_sparse(device: int) -> None:
    """Holes, and pages that fallocate() reserved without clearing them."""
    dirty = alloc(device, 8 << 20)
    with mmap.mmap(dirty, 8 << 20) as m:
        m[:] = b"\xee" * len(m)
    os.close(dirty)
    for fill in (os.ftruncate, lambda fd, size: os.posix_fallocate(fd, 0, size)):
        with closing(memfd_of(b"")) as source:
            fill(source, 8 << 20)
            fcntl.fcntl(source, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
            with closing(from_memfd(device, source, 0, 8 << 20)) as fd:
                with mmap.mmap(fd, 8 << 20) as m:
                    assert m[:] == bytes(len(m))
                    m[:8] = b"the same"
                assert os.pread(source, 8, 0) == b"the same"


def test_memfd_cannot_shrink_and_holes_do_no_harm(device: int, memfd: int) -> None:
    with closing(from_memfd(device, memfd)) as fd, mmap.mmap(fd, SIZE) as m:
        with pytest.raises(PermissionError):
            os.ftruncate(memfd, 0)
        assert m[PAGE : 2 * PAGE] == page_numbers(1, 1)
        assert LIBC.fallocate(memfd, PUNCH_HOLE, ctypes.c_long(0), ctypes.c_long(SIZE)) == 0
        assert m[:] == page_numbers(16)
        m[:] = bytes(SIZE)


def test_memfd_cannot_be_sealed_under_the_buffer(device: int, memfd: int) -> None:
    with closing(from_memfd(device, memfd, PAGE, PAGE)), pytest.raises(OSError, match="busy"):
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    with refused(errno.EINVAL):
        from_memfd(device, memfd)


@pytest.mark.parametrize(
    "seals",
    [
        (),
        (fcntl.F_SEAL_GROW,),
        (fcntl.F_SEAL_WRITE,),
        (fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_WRITE),
        (fcntl.F_SEAL_SHRINK, F_SEAL_FUTURE_WRITE),
    ],
)
def test_memfd_wrong_seals(device: int, seals: tuple[int, ...]) -> None:
    with closing(memfd_of(page_numbers(16), *seals)) as source, refused(errno.EINVAL):
        from_memfd(device, source)


def test_memfd_more_seals(device: int) -> None:
    seals = (fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SEAL)
    with closing(memfd_of(page_numbers(16), *seals)) as source:
        os.close(from_memfd(device, source))


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (1, PAGE),
        (PAGE - 1, PAGE),
        (SIZE, PAGE),
        (PAGE, SIZE),
        (SIZE - PAGE, 2 * PAGE),
        (0, SIZE + PAGE),
        (2**63 - PAGE, PAGE),
        (2**63, PAGE),
        (2**64 - PAGE, PAGE),
        (2**64 - PAGE, 2 * PAGE),
    ],
)
def test_memfd_outside(device: int, memfd: int, offset: int, size: int) -> None:
    with refused(errno.EINVAL):
        from_memfd(device, memfd, offset, size)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_PATH])
def test_memfd_open_for_too_little(device: int, memfd: int, flags: int) -> None:
    with closing(os.open(f"/proc/self/fd/{memfd}", flags)) as other, refused(errno.EBADF):
        from_memfd(device, other)


@pytest.mark.parametrize("number", [-1, 2**31 - 1, -(2**31), 1000])
def test_memfd_not_open(device: int, number: int) -> None:
    with refused(errno.EBADF):
        from_memfd(device, number)


def test_not_a_memfd(device: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(SIZE))
    sources = [os.open(path, os.O_RDWR) for path in (tmp_path / "file", "/dev/null", "/dev/zero")]
    sources += [os.eventfd(0), alloc(device), os.dup(device)]
    with contextlib.suppress(OSError):
        sources.append(os.memfd_create("huge", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB))
        os.ftruncate(sources[-1], 4 << 20)
        fcntl.fcntl(sources[-1], fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    for source in sources:
        with closing(source), refused(errno.EINVAL):
            from_memfd(device, source)
