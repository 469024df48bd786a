# SPDX-License-Identifier: MIT
"""Processes of 32 bits: the kernel's other entry, with the same structures.

A process of 64 bits may take it, too, by its interrupt, with what it passes in the lowest 4 GiB.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct

import pytest
from ioctl_calls import CALLS
from locks import UNLOCK, WRITE
from state import accesses, open_files, proc_locks

from dmabuf_sync._uapi import ffi, lib

# Which the stock kernels have and the debug kernels have not.
pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not os.path.exists("/proc/sys/abi/vsyscall32"),
    reason="a kernel without 32-bit system calls",
)
MAP_32BIT = 0x40
SYS_IOCTL, SYS_FCNTL64 = 54, 221
F_SETLK64, F_OFD_SETLK = 13, 37
# long call(number, a, b, c): push rbx; eax, ebx, ecx, edx = the arguments; int 0x80; pop rbx; ret
ENTRY = bytes.fromhex("53 89f8 89f3 4189c8 89d1 4489c2 cd80 5b c3")
TYPE = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 4)


class Compat:
    """Makes system calls of 32 bits; `memory` is for their arguments."""

    def __init__(self) -> None:
        everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        self._map = mmap.mmap(
            -1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, prot=everything
        )
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self._map[: len(ENTRY)] = ENTRY
        self._call = TYPE(start)
        self._at = start + 4096

    def call(self, number: int, fd: int, what: int, argument: bytes) -> bytes:
        """Return what the kernel made of the argument; raises OSError."""
        self._map[4096 : 4096 + len(argument)] = argument
        result = self._call(number, fd, what, self._at)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return self._map[4096 : 4096 + len(argument)]

    def flock(self, kind: int, start: int, length: int) -> bytes:
        """Return a struct flock64 of 32 bits, which has no hole behind its two shorts."""
        return struct.pack("<hhqqi", kind, os.SEEK_SET, start, length, 0)


@pytest.fixture
def compat() -> Compat:
    return Compat()


def _outcome(name: str, buf: int, compat: Compat | None) -> tuple[int, set[int]]:
    """The errno, and where the argument has changed, in words of 8 bytes; leaves nothing behind."""
    file, made = CALLS[name](buf)
    before = open_files()
    data = bytes(ffi.buffer(made))
    number = getattr(lib, name)
    memory = bytearray(data)
    error = 0
    try:
        if compat:
            memory[:] = compat.call(SYS_IOCTL, file, number, data)
        else:
            fcntl.ioctl(file, number, memory)
    except OSError as failure:
        error = failure.errno or -1
    if name == "DMABUF_SYNC_IOC_LOCK":
        fcntl.ioctl(file, lib.DMABUF_SYNC_IOC_UNLOCK)
    fcntl.lockf(buf, fcntl.LOCK_UN)
    for fd in (open_files() - before) | {file}:
        os.close(fd)
    if name == "VDMABUF_IOC_FROM_MEMFD":
        os.close(made.memfd)
    changed = {at // 8 for at in range(len(data)) if memory[at] != data[at]}
    return error, changed


@pytest.mark.parametrize("name", CALLS)
def test_every_ioctl_does_the_same(buf: int, compat: Compat, name: str) -> None:
    native = _outcome(name, buf, None)
    assert native[0] == 0
    assert _outcome(name, buf, compat) == native


def test_unknown_ioctl(compat: Compat) -> None:
    with open("/dev/vdmabuf", "rb") as device, pytest.raises(OSError) as failure:
        compat.call(SYS_IOCTL, device.fileno(), 0xA8FF, b"")
    assert failure.value.errno == errno.ENOTTY


@pytest.mark.parametrize("command", [F_SETLK64, F_OFD_SETLK])
def test_fcntl_locks_the_bytes(buf: int, compat: Compat, command: int) -> None:
    """Also bytes beyond what 32 bits can count."""
    far = 1 << 33
    for start in (4096, far + 4096):
        compat.call(SYS_FCNTL64, buf, command, compat.flock(WRITE, start, 4096))
    assert [(access.start, access.end) for access in accesses(buf)] == [(4096, 8191)]
    # Had the other been cut off to 32 bits, it would be the same.
    assert len(proc_locks(buf)) == 2
    compat.call(SYS_FCNTL64, buf, command, compat.flock(UNLOCK, 0, 0))
    assert accesses(buf) == proc_locks(buf) == []
