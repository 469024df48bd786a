# SPDX-License-Identifier: MIT
"""With the modules or without, everything else does the same (C12); clients may go (C8)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import select
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from actors import Actor, until
from buffers import allocate, available, vgem_export, vgem_node
from locks import READ, UNLOCK, WRITE, lock, ofd_trylock, trylock, unlock
from locks import test as getlk
from modules import kernel_memory, load_all, rmmod, symbol, unload_framework
from state import accesses
from vgem import VgemBuffer

from dmabuf_sync import Access, Blitter, DmaBuf, JobFailed

SetParameter = Callable[[str, int], None]

SIZE = 65536
_PRIME_FD_TO_HANDLE = 0xC00C642E
_PRIME_HANDLE_TO_FD = 0xC00C642D
_MODE_MAP_DUMB = 0xC01064B3
_FOPS_BYTES = 256


@pytest.fixture
def unloading() -> Iterator[None]:
    """The test may unload whatever it likes."""
    yield
    load_all()


def _errno(function: Callable[..., Any], *args: Any) -> str:
    """What a call says, in a word."""
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _file_locks() -> list[Any]:
    """Posix, open file description and flock locks on a tmpfs file."""
    said: list[Any] = []
    with tempfile.TemporaryFile(dir="/dev/shm") as file, Actor() as other:
        fd = file.fileno()
        path = f"/proc/self/fd/{fd}"

        def other_file() -> str:
            mine = os.open(path, os.O_RDWR)
            with contextlib.closing(os.fdopen(mine, "r+b")):
                return _errno(fcntl.flock, mine, fcntl.LOCK_EX | fcntl.LOCK_NB) + _errno(
                    ofd_trylock, mine, WRITE
                )

        lock(fd, WRITE, 0, 10)
        said += [_errno(other.call, trylock, fd, kind, 5, 10) for kind in (READ, WRITE)]
        conflict = other.call(getlk, fd, READ)
        said.append((*conflict[:3], conflict[3] == os.getpid()))
        unlock(fd, 3, 2)
        said.append(_errno(other.call, trylock, fd, WRITE, 3, 2))
        said.append(_errno(trylock, fd, WRITE))
        other.kill()
        said.append(_errno(trylock, fd, WRITE))
        unlock(fd)
        ofd_trylock(fd, WRITE)
        fcntl.flock(fd, fcntl.LOCK_EX)
        said += [other_file(), _errno(trylock, fd, READ), _errno(ofd_trylock, fd, UNLOCK)]
    return said


def _prime(exporter: str) -> list[str]:
    """Import of somebody's dma-buf into vgem, and export of what became of it."""
    node = vgem_node()
    assert node is not None
    fd, card = allocate(exporter, SIZE), os.open(node, os.O_RDWR)
    said = []
    request = bytearray(struct.pack("IIi", 0, 0, fd))
    said.append(_errno(fcntl.ioctl, card, _PRIME_FD_TO_HANDLE, request))
    said.append(_errno(fcntl.ioctl, card, _PRIME_FD_TO_HANDLE, bytearray(request)))
    with open("/dev/null") as null:
        wrong = bytearray(struct.pack("IIi", 0, 0, null.fileno()))
        said.append(_errno(fcntl.ioctl, card, _PRIME_FD_TO_HANDLE, wrong))
    os.close(card)
    os.close(fd)
    return said


def _write(fd: int, data: bytes, offset: int = 0) -> None:
    with mmap.mmap(fd, SIZE, offset=offset) as memory:
        memory[:] = data


def _read(fd: int, offset: int = 0) -> bytes:
    with mmap.mmap(fd, SIZE, offset=offset) as memory:
        return bytes(memory)


def _contents(exporter: str) -> list[bytes]:
    """What is read after a buffer has gone from driver to driver and back."""
    node = vgem_node()
    assert node is not None
    said = []
    with contextlib.ExitStack() as closing:

        def opened(fd: int) -> int:
            closing.callback(os.close, fd)
            return fd

        fd = first = opened(allocate(exporter, SIZE))
        for turn in range(2):
            _write(fd, bytes([turn + 1]) * SIZE)
            card = opened(os.open(node, os.O_RDWR))
            request = bytearray(struct.pack("IIi", 0, 0, fd))
            fcntl.ioctl(card, _PRIME_FD_TO_HANDLE, request)
            (handle, *_) = struct.unpack("IIi", request)
            request = bytearray(struct.pack("IIi", handle, os.O_RDWR, -1))
            fcntl.ioctl(card, _PRIME_HANDLE_TO_FD, request)
            fd = opened(struct.unpack("IIi", request)[2])
            said.append(_read(fd))
            _write(fd, bytes([turn + 8]) * SIZE)
            said.append(_read(first))

        card = opened(os.open(node, os.O_RDWR))
        handle, fd = vgem_export(card, SIZE)
        opened(fd)
        request = bytearray(struct.pack("IIQ", handle, 0, 0))
        fcntl.ioctl(card, _MODE_MAP_DUMB, request)
        (*_, offset) = struct.unpack("IIQ", request)
        _write(card, b"d" * SIZE, offset)
        said.append(_read(fd))
        _write(fd, b"D" * SIZE)
        said.append(_read(card, offset))
    return said


def _fences() -> list[Any]:
    """poll() and sync_files of a buffer with a fence on it."""
    vgem = VgemBuffer()
    said: list[Any] = []

    def ready(file: Any) -> list[bool]:
        readable, writable, _ = select.select([file], [file], [], 0)
        return [bool(readable), bool(writable)]

    for write in (False, True):
        said.append(ready(vgem.fd))
        fence = vgem.attach(write)
        said.append(ready(vgem.fd))
        with vgem.dmabuf.export_sync_file(Access.WRITE) as sync_file:
            said.append(sync_file.info().status)
            vgem.signal(fence)
            said.append(sync_file.info().status)
    vgem.close()
    return said


def _everything() -> dict[str, Any]:
    said = {"files": _file_locks()}
    if vgem_node() is not None:
        said["fences"] = _fences()
        for exporter in ("udmabuf", "vdmabuf", "vgem"):
            if available(exporter):
                said[exporter] = _prime(exporter)
                said[f"in {exporter}"] = _contents(exporter)
    return said


def test_others_notice_nothing(unloading: None) -> None:
    with_modules = _everything()
    unload_framework()
    without = _everything()
    assert with_modules == without
    # It does tell results apart.
    assert without["files"][:2] == ["EAGAIN", "EAGAIN"]
    if vgem_node() is not None:
        assert [data[:1] for data in without["in vdmabuf"]] == [
            b"\1", b"\x08", b"\2", b"\x09", b"d", b"D"
        ]


def test_unloading_restores_the_file_operations(unloading: None) -> None:
    address = symbol("dma_buf_fops")
    if address is None or not os.path.exists("/proc/kcore"):
        pytest.skip("this kernel does not show its memory (/proc/kallsyms, /proc/kcore)")
    unload_framework()
    before = kernel_memory(address, _FOPS_BYTES)
    load_all()
    during = kernel_memory(address, _FOPS_BYTES)
    unload_framework()
    after = kernel_memory(address, _FOPS_BYTES)
    changed = [at for at in range(0, _FOPS_BYTES, 8) if before[at : at + 8] != during[at : at + 8]]
    assert len(changed) == 2  # lock and flush
    assert all(before[at : at + 8] == bytes(8) for at in changed)
    assert after == before


def test_client_driver_goes_with_a_job_running(
    buf: int, unloading: None, set_parameter: SetParameter
) -> None:
    set_parameter("job_timeout_ms", 1000)
    blitter = Blitter()
    with open("/sys/module/vblit/parameters/bytes_per_second", "w") as file:
        file.write("1000")  # a minute for the buffer
    job = blitter.fill(buf, 0x11)
    assert not job.done
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)
    with job.sync_file() as fence:
        blitter.close()
        until(lambda: not rmmod("vblit"), "unloading vblit")
        until(lambda: job.done)
        with pytest.raises(JobFailed):
            job.wait(20)
        assert fence.info().status < 0
    job.close()
    lock(buf, WRITE)
    unlock(buf)
    until(lambda: not accesses(buf), "giving the buffer back")


def test_last_close_with_a_mapping_left(unloading: None) -> None:
    fd = allocate("vdmabuf", SIZE)
    dmabuf = DmaBuf(os.dup(fd))
    mapping = dmabuf.map()
    memory = mapping.view
    lock(fd, WRITE)
    dmabuf.close()
    os.close(fd)
    assert accesses() == []  # the process's lock went with the descriptors
    memory[:1] = b"x"
    fd = allocate("vdmabuf", SIZE)
    ofd_trylock(fd, WRITE)
    with DmaBuf(os.dup(fd)) as other:
        second = other.map()
    os.close(fd)
    assert [access.kind for access in accesses()] == ["ofd"]  # the mapping has the file
    del memory
    second.close()
    until(lambda: not accesses(), "release by the last reference")
    mapping.close()
    unload_framework()
