# SPDX-License-Identifier: MIT
"""dma-bufs of vdmabuf in the hands of a device: vgem, which maps them until it closes them.

The counters tell which mappings are synchronised; test_exporter_dma.py sees whose bytes arrive.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from types import FrameType

import pytest
from exporter_calls import LIBC, SIZE, alloc, closing, from_memfd, refused, stats
from importer import Vgem

from dmabuf_sync._uapi import lib

READ, WRITE = lib.DMA_BUF_SYNC_READ, lib.DMA_BUF_SYNC_WRITE
START, END = lib.DMA_BUF_SYNC_START, lib.DMA_BUF_SYNC_END
SYS_DELETE_MODULE = 176 if os.uname().machine == "x86_64" else 106


def sync(buffer: int, flags: int) -> None:
    fcntl.ioctl(buffer, lib.DMA_BUF_IOCTL_SYNC, struct.pack("Q", flags))


def counted(buffer: int, flags: int) -> dict[str, int]:
    """DMA_BUF_IOCTL_SYNC, and the counters it changes."""
    before = stats()
    sync(buffer, flags)
    return {name: value - before[name] for name, value in stats().items() if value != before[name]}


def test_without_a_device(device: int) -> None:
    with closing(alloc(device)) as buffer:
        for flags in (READ, WRITE, READ | WRITE):
            for step in (END, START, START, END):
                assert counted(buffer, step | flags) == {}


@pytest.mark.parametrize("source", ["pages", "memfd"])
def test_mapped_until_closed(device: int, vgem: Vgem, memfd: int, source: str) -> None:
    with closing(alloc(device) if source == "pages" else from_memfd(device, memfd)) as buffer:
        handle = vgem.map(buffer)
        vgem.drop(handle)
        assert stats()["mappings"] == 0


def test_read_only_buffer(device: int, vgem: Vgem) -> None:
    with closing(alloc(device, fd_flags=os.O_RDONLY)) as buffer:
        vgem.drop(vgem.load(buffer))


def test_reading(device: int, vgem: Vgem) -> None:
    """The CPU sees what the device has written; there is nothing to give back."""
    with closing(alloc(device)) as buffer:
        handle = vgem.map(buffer)
        assert counted(buffer, START | READ) == {"for_cpu": 1, "synced_bytes": SIZE}
        assert counted(buffer, END | READ) == {"for_device_skipped": 1}
        vgem.drop(handle)


@pytest.mark.parametrize("flags", [WRITE, READ | WRITE])
def test_writing(device: int, vgem: Vgem, flags: int) -> None:
    """Also bytes that the CPU does not write are the device's, so they come first."""
    with closing(alloc(device)) as buffer:
        handle = vgem.map(buffer)
        assert counted(buffer, START | flags) == {"for_cpu": 1, "synced_bytes": SIZE}
        assert counted(buffer, END | flags) == {"for_device": 1, "synced_bytes": SIZE}
        vgem.drop(handle)


def test_upgrade(device: int, vgem: Vgem) -> None:
    """A second begin must not bring back what the CPU has overwritten since the first."""
    with closing(alloc(device)) as buffer:
        handle = vgem.map(buffer)
        assert counted(buffer, START | READ) == {"for_cpu": 1, "synced_bytes": SIZE}
        assert counted(buffer, START | READ | WRITE) == {"for_cpu": 1, "synced_bytes": SIZE}
        assert counted(buffer, START | READ | WRITE) == {"for_cpu_skipped": 1}
        assert counted(buffer, END | READ | WRITE) == {"for_device": 1, "synced_bytes": SIZE}
        assert counted(buffer, END | READ) == {"for_device_skipped": 1}
        assert counted(buffer, START | READ) == {"for_cpu": 1, "synced_bytes": SIZE}
        vgem.drop(handle)


def test_several_devices(device: int, vgem: Vgem) -> None:
    other = Vgem()
    with closing(alloc(device)) as buffer, closing(other.fd):
        handle = vgem.map(buffer)
        other.map(buffer)
        assert counted(buffer, START | READ) == {"for_cpu": 2, "synced_bytes": 2 * SIZE}
        vgem.drop(handle)
        assert stats()["mappings"] == 1


@pytest.mark.usefixtures("vgem")
def test_import_of_a_killed_process(device: int) -> None:
    child = os.fork()
    if child == 0:
        Vgem().load(alloc(device))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_begin_waits_for_the_device(device: int, vgem: Vgem) -> None:
    """Bytes move only when the fence has signalled; a signal interrupts, nothing has begun."""

    class Enough(Exception):
        pass

    def enough(number: int, frame: FrameType | None) -> None:
        raise Enough

    with closing(alloc(device)) as buffer:
        handle = vgem.map(buffer)
        old = signal.signal(signal.SIGALRM, enough)
        fence = vgem.fence(handle)
        before = stats()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Enough):
            sync(buffer, START | READ)
        signal.signal(signal.SIGALRM, old)
        assert stats() == before
        vgem.signal(fence)
        assert counted(buffer, START | READ) == {"for_cpu": 1, "synced_bytes": SIZE}
        sync(buffer, END | READ)
        vgem.drop(handle)


def test_module_stays_while_there_is_a_buffer(device: int) -> None:
    def references() -> int:
        with open("/sys/module/vdmabuf/refcnt") as file:
            return int(file.read())

    before = references()
    with closing(alloc(device)):
        assert references() == before + 1
        with refused(errno.EAGAIN):
            if LIBC.syscall(SYS_DELETE_MODULE, b"vdmabuf", os.O_NONBLOCK):
                raise OSError(ctypes.get_errno(), "delete_module")
    assert references() == before
