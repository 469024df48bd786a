# SPDX-License-Identifier: MIT
"""The library: making, naming and mapping buffers."""

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Any

import pytest
from other_process import PAGE, SIZE

from dmabuf_sync import (
    Access,
    DmaBuf,
    Exporter,
    Heap,
    Sync,
    Udmabuf,
    heaps,
)


def test_allocate(exporter: Exporter) -> None:
    info = exporter.info()
    assert info.page_size == PAGE
    with exporter.allocate(PAGE, "a name") as buffer:
        assert buffer.size == PAGE
        assert buffer.name == "a name"
        assert buffer.writable
        assert fcntl.fcntl(buffer, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with buffer.map() as m:
            assert bytes(m) == bytes(PAGE)
    for size, number in ((0, errno.EINVAL), (PAGE + 1, errno.EINVAL), (2**63, errno.EINVAL)):
        if number == errno.EINVAL and size % PAGE == 0 and size:
            number = errno.EMSGSIZE
        with pytest.raises(OSError, match="allocate") as caught:
            exporter.allocate(size)
        assert caught.value.errno == number
    with pytest.raises(ValueError, match="name must be at most 31 bytes"):
        exporter.allocate(PAGE, "x" * 32)


def test_from_memfd(exporter: Exporter) -> None:
    memfd = os.memfd_create("pages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, 3 * PAGE)
    with pytest.raises(OSError, match="memfd") as caught:
        exporter.from_memfd(memfd)
    assert caught.value.errno == errno.EINVAL, "F_SEAL_SHRINK was not asked for"
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    os.pwrite(memfd, b"from the memfd", PAGE)
    with exporter.from_memfd(memfd, PAGE) as buffer:
        assert buffer.size == 2 * PAGE
        with buffer.map() as m:
            assert bytes(m[:14]) == b"from the memfd"
            m[:2] = b"to"
    assert os.pread(memfd, 14, PAGE) == b"toom the memfd"
    os.close(memfd)


def test_info_and_name(buf: DmaBuf) -> None:
    info = buf.info()
    assert info.size == buf.size == SIZE
    assert info.name == "test"
    assert info.exporter
    assert info.references >= 1
    assert info.inode == os.fstat(buf.fileno()).st_ino
    buf.name = "renamed"
    assert buf.name == "renamed"
    with pytest.raises(OSError, match="name fd") as caught:
        buf.name = "x" * 40
    assert caught.value.errno == errno.EINVAL
    assert buf.name == "renamed"


def test_read_only(exporter: Exporter) -> None:
    with exporter.allocate(PAGE, writable=False) as buffer:
        assert not buffer.writable
        with buffer.map() as m:
            assert m.readonly
        with buffer.locked(Access.READ):
            pass
        choices: list[dict[str, Any]] = [{}, {"timeout": 1}, {"blocking": False}]
        for options in choices:
            with pytest.raises(OSError, match="lock fd") as caught:
                buffer.lock(Access.WRITE, **options)
            assert caught.value.errno == errno.EBADF
        with Sync() as sync, pytest.raises(OSError, match="add fd") as caught:
            sync.add(buffer, Access.WRITE)
        assert caught.value.errno == errno.EBADF


def test_cpu_access_and_fences(buf: DmaBuf) -> None:
    for access in (Access.READ, Access.WRITE, Access.READ | Access.WRITE):
        with buf.cpu_access(access):
            pass
        with buf.export_sync_file(access) as fence:
            fence.wait(1)
            assert fence.info().status == 1
            buf.import_sync_file(fence, access)


@pytest.mark.parametrize("make", [lambda: Heap("system"), Udmabuf], ids=["heap", "udmabuf"])
def test_buffers_of_the_kernel(make: Callable[[], Any]) -> None:
    try:
        allocator = make()
    except FileNotFoundError as error:
        pytest.skip(f"this kernel has no {error.filename}")
    with allocator, allocator.allocate(SIZE) as buffer:
        assert buffer.size == SIZE
        with buffer.locked(Access.WRITE, timeout=1), buffer.map() as m:
            m[:4] = b"abcd"
        with Sync() as sync:
            sync.add(buffer, Access.READ)
            with sync.locked(timeout=1), buffer.map(Access.READ) as m:
                assert bytes(m[:4]) == b"abcd"
    assert isinstance(heaps(), tuple)


def test_numpy_without_a_copy(buf: DmaBuf) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    with buf.locked(Access.WRITE), buf.map() as m:
        numpy.frombuffer(m, dtype=numpy.uint32)[:] = numpy.arange(SIZE // 4)
    with buf.map(Access.READ, offset=4 * 1000, length=4) as m:
        assert int.from_bytes(m, "little") == 1000
