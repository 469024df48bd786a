# SPDX-License-Identifier: MIT
"""Memory whose owner does not answer: who touches it waits, in the kernel too."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct

# userfaultfd(2) has no wrapper in libc.
_SYS_USERFAULTFD = 323 if platform.machine() == "x86_64" else 282
_UFFDIO_API, _UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
_API, _MISSING = 0xAA, 1
_pages: list[mmap.mmap] = []


def available() -> bool:
    """Has this kernel what it takes?"""
    return os.path.exists("/proc/sys/vm/unprivileged_userfaultfd")


def stalled_address() -> int:
    """The address of a page that never comes, for as long as this process lives."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _pages.append(page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    fcntl.ioctl(fd, _UFFDIO_API, bytearray(struct.pack("<QQQ", _API, 0, 0)))
    range_ = struct.pack("<QQQQ", address, mmap.PAGESIZE, _MISSING, 0)
    fcntl.ioctl(fd, _UFFDIO_REGISTER, bytearray(range_))
    return address
