# SPDX-License-Identifier: MIT
"""/dev/vdmabuf by system calls alone, and what the exporter says of itself."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from buffers import ARM64
from locks import lock
from state import open_files

from dmabuf_sync._uapi import ffi, lib

PAGE = mmap.PAGESIZE
SIZE = 16 * PAGE
# Bytes that CPU and device do not share, or a multiple: kernels for arm64 take 128 or ask the CPU.
LINE = 128 if ARM64 else 1
RDWR = os.O_RDWR | os.O_CLOEXEC
LIBC = ctypes.CDLL(None, use_errno=True)
_STATS = "/sys/kernel/debug/vdmabuf/stats"


def lock_lines(fd: int, kind: int, first: int, count: int) -> None:
    """Lock by the cache line."""
    lock(fd, kind, first * LINE, count * LINE)


def stats() -> dict[str, int]:
    """The exporter's counters."""
    with open(_STATS) as file:
        return {name: int(value) for name, value in (line.split() for line in file)}


def state() -> tuple[set[str], list[int]]:
    """Open file descriptors, and what there is of buffers."""
    now = stats()
    files = open_files()
    return files, [now[name] for name in ("buffers", "bytes", "mappings")]


def request(kind: str, **fields: Any) -> Any:
    made = ffi.new(f"struct vdmabuf_{kind} *")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def call(device: int, number: int, made: Any) -> int:
    fcntl.ioctl(device, number, ffi.buffer(made))
    return int(made.fd)


def alloc(device: int, size: int = SIZE, **fields: Any) -> int:
    made = request("alloc", size=size, **{"fd_flags": RDWR, **fields})
    return call(device, lib.VDMABUF_IOC_ALLOC, made)


def from_memfd(device: int, memfd: int, offset: int = 0, size: int = SIZE, **fields: Any) -> int:
    made = request(
        "from_memfd", memfd=memfd, offset=offset, size=size, **{"fd_flags": RDWR, **fields}
    )
    return call(device, lib.VDMABUF_IOC_FROM_MEMFD, made)


@contextlib.contextmanager
def refused(number: int) -> Iterator[None]:
    """The body fails with this errno and changes nothing."""
    before = state()
    with pytest.raises(OSError) as info:
        yield
    assert errno.errorcode[info.value.errno or 0] == errno.errorcode[number]
    assert state() == before


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def page_numbers(pages: int, first: int = 0) -> bytes:
    """Pages that tell where they belong."""
    return b"".join(struct.pack("<Q", first + n).ljust(PAGE, b"\xa5") for n in range(pages))


def memfd_of(data: bytes, *seals: int) -> int:
    fd = os.memfd_create("source", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    for seal in seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)
    return fd
