# SPDX-License-Identifier: MIT
"""Mapping, on a memfd: the same system calls as for a dma-buf."""

import errno
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmabuf_sync import Access, Mapping

SIZE = 4 * mmap.PAGESIZE


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("mapping", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("/memfd:mapping")


def test_reads_and_writes_the_file(memfd: int) -> None:
    with Mapping(memfd) as m:
        assert len(m) == SIZE
        m[:4] = b"\x01\x02\x03\x04"
        assert os.pread(memfd, 4, 0) == b"\x01\x02\x03\x04"
        os.pwrite(memfd, b"abc", SIZE - 3)
        assert bytes(m[-3:]) == b"abc"
        words = m.cast("I")
        words[1] = 0x01020304
        assert os.pread(memfd, 4, 4) == (0x01020304).to_bytes(4, "little")
        words.release()
    assert mappings() == 0
    with pytest.raises(ValueError, match="released"):
        m[0]


def test_without_with(memfd: int) -> None:
    mapping = Mapping(memfd)
    mapping[0] = 7
    assert mapping[0] == 7
    assert len(mapping) == SIZE
    assert repr(mapping) == f"<Mapping {SIZE} bytes>"
    mapping.close()
    mapping.close()
    assert mapping.closed
    assert mappings() == 0
    for use in (lambda: mapping[0], lambda: mapping.view, lambda: len(mapping)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_a_view_keeps_the_memory(memfd: int) -> None:
    mapping = Mapping(memfd)
    part = mapping[8:12]
    other = memoryview(mapping.view)
    mapping.close()
    assert mappings() == 1
    part[:] = b"late"
    assert os.pread(memfd, 4, 8) == b"late"
    del part
    assert mappings() == 1
    del other
    assert mappings() == 0


def test_a_numpy_array_keeps_the_memory(memfd: int) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    with Mapping(memfd) as m:
        array = numpy.frombuffer(m, dtype=numpy.uint8)
        array[5] = 55
    del m
    assert mappings() == 1
    array[6] = 66
    assert os.pread(memfd, 2, 5) == bytes([55, 66])
    del array
    assert mappings() == 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is new in Python 3.12")
def test_buffer_protocol(memfd: int) -> None:
    mapping = Mapping(memfd)
    view = memoryview(mapping)
    mapping.close()
    view[0] = 9
    assert os.pread(memfd, 1, 0) == b"\x09"
    view.release()
    del view
    assert mappings() == 0


def test_window_need_not_be_aligned(memfd: int) -> None:
    os.pwrite(memfd, b"window", mmap.PAGESIZE + 100)
    with Mapping(memfd, 6, mmap.PAGESIZE + 100) as m:
        assert bytes(m) == b"window"
    with Mapping(memfd, offset=SIZE - 10) as m:
        assert len(m) == 10


def test_read_only(memfd: int) -> None:
    reader = os.open(f"/proc/self/fd/{memfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Mapping(reader, access=Access.READ) as m:
            assert m.readonly
            with pytest.raises(TypeError):
                m[0] = 1
        with pytest.raises(PermissionError) as caught:
            Mapping(reader, access=Access.WRITE)
        assert caught.value.errno == errno.EACCES
    finally:
        os.close(reader)


def test_bad_arguments(memfd: int) -> None:
    with pytest.raises(ValueError, match="no bytes"):
        Mapping(memfd, offset=SIZE)
    with pytest.raises(ValueError, match="offset"):
        Mapping(memfd, offset=-1)
    with pytest.raises(ValueError, match="access"):
        Mapping(memfd, access=Access.DMA)
    with pytest.raises(OSError, match="Bad file"):
        Mapping(2**31 - 1)
