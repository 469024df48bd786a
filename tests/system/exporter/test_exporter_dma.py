# SPDX-License-Identifier: MIT
"""Bytes between the CPU and a device that moves some: the blitter, on dma-bufs of vdmabuf."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

import pytest
from exporter_calls import PAGE, alloc, closing, from_memfd, page_numbers
from importer import Vgem

from dmabuf_sync import Access, Blitter, DmaBuf
from dmabuf_sync._uapi import lib

pytestmark = pytest.mark.coherency


def test_many_segments(device: int, blitter: Blitter) -> None:
    """More than a device can take, or bounce, at once."""
    pages = 1024
    with DmaBuf(alloc(device, pages * PAGE)) as src, DmaBuf(alloc(device, pages * PAGE)) as dst:
        for first in (0, 7):
            numbers = page_numbers(pages, first)
            with src.locked(Access.WRITE), src.map() as m:
                m[:] = numbers
            blitter.copy(src, dst)
            with dst.locked(Access.READ), dst.map() as m:
                assert bytes(m[:]) == numbers


def test_window_of_a_memfd(device: int, blitter: Blitter, memfd: int) -> None:
    """The device's bytes are in the file, and the file's around them are its own."""
    with DmaBuf(from_memfd(device, memfd, 3 * PAGE, 2 * PAGE)) as window:
        blitter.fill(window, 0x5A, bytes_per_pixel=1)
        with window.locked(Access.READ):
            assert os.pread(memfd, 16 * PAGE, 0) == (
                page_numbers(3) + b"\x5a" * (2 * PAGE) + page_numbers(11, 5)
            )


def test_sync_ioctl_after_a_job_that_is_only_granted(device: int, blitter: Blitter) -> None:
    """No lock: begin_cpu_access itself waits for the fence, then takes over the bytes."""
    size = 1 << 20
    with closing(alloc(device, size)) as fd, mmap.mmap(fd, size) as m:
        for color in range(1, 20):
            blitter.fill(fd, color, bytes_per_pixel=1)
            begin = lib.DMA_BUF_SYNC_START | lib.DMA_BUF_SYNC_READ
            fcntl.ioctl(fd, lib.DMA_BUF_IOCTL_SYNC, struct.pack("Q", begin))
            assert m[:] == bytes([color]) * size
            end = lib.DMA_BUF_SYNC_END | lib.DMA_BUF_SYNC_READ
            fcntl.ioctl(fd, lib.DMA_BUF_IOCTL_SYNC, struct.pack("Q", end))


def test_neighbour_that_does_nothing(device: int, blitter: Blitter, vgem: Vgem) -> None:
    """A mapping that is older than the bytes does not bring back what it had."""
    with DmaBuf(alloc(device)) as buffer:
        handle = vgem.map(buffer.fileno())
        for color in (1, 2, 3):
            blitter.fill(buffer, color, bytes_per_pixel=1)
            with buffer.locked(Access.READ), buffer.map() as m:
                assert bytes(m[:]) == bytes([color]) * len(m)
            with buffer.locked(Access.WRITE), buffer.map() as m:
                m[0] = 0xFF
        vgem.drop(handle)
        with buffer.locked(Access.READ), buffer.map() as m:
            assert bytes(m[:]) == b"\xff" + bytes([3]) * (len(m) - 1)


def test_neighbour_that_leaves_while_the_cpu_writes(device: int, vgem: Vgem) -> None:
    with DmaBuf(alloc(device)) as buffer:
        handle = vgem.map(buffer.fileno())
        with buffer.locked(Access.WRITE), buffer.map() as m:
            m[:4] = b"here"
            vgem.drop(handle)
            assert bytes(m[:4]) == b"here"
