# SPDX-License-Identifier: MIT
"""Coherent buffers: the CPU and devices use the same bytes, and nothing is ever copied."""

from __future__ import annotations

import faulthandler
import fcntl
import mmap
import os
import signal
import struct
from collections.abc import Iterator

import pytest
from exporter_calls import PAGE, SIZE, alloc, closing, page_numbers, stats
from importer import Vgem
from locks import READ, WRITE, lock, unlock

from dmabuf_sync import Access, Blitter, DmaBuf
from dmabuf_sync._uapi import lib


@pytest.fixture
def coherent(device: int) -> Iterator[DmaBuf]:
    with DmaBuf(alloc(device, flags=lib.VDMABUF_ALLOC_COHERENT)) as made:
        yield made


@pytest.mark.parametrize("size", [PAGE, 3 * PAGE, (5 << 20) + PAGE])
def test_zeroed(device: int, size: int) -> None:
    for _ in range(2):
        flags = lib.VDMABUF_ALLOC_COHERENT
        with closing(alloc(device, size, flags=flags)) as fd, mmap.mmap(fd, size) as m:
            assert m[:] == bytes(size)
            m[:] = b"\xff" * size


@pytest.mark.coherency
def test_no_cache_work(coherent: DmaBuf, vgem: Vgem) -> None:
    before = stats()
    handle = vgem.map(coherent.fileno())
    for kind in (READ, WRITE):
        lock(coherent.fileno(), kind)
        unlock(coherent.fileno())
    for step in (lib.DMA_BUF_SYNC_START, lib.DMA_BUF_SYNC_END):
        flags = struct.pack("Q", step | lib.DMA_BUF_SYNC_READ | lib.DMA_BUF_SYNC_WRITE)
        fcntl.ioctl(coherent.fileno(), lib.DMA_BUF_IOCTL_SYNC, flags)
    now = stats()
    vgem.drop(handle)
    for name in ("for_cpu", "for_device", "synced_bytes"):
        assert now[name] == before[name]


@pytest.mark.coherency
def test_device_and_cpu(device: int, coherent: DmaBuf) -> None:
    numbers = page_numbers(SIZE // PAGE)
    with Blitter() as blitter, DmaBuf(alloc(device)) as plain, coherent.map() as m:
        with coherent.locked(Access.WRITE):
            m[:] = numbers
        blitter.copy(coherent, plain).wait(timeout=20)
        with plain.locked(Access.READ), plain.map() as seen:
            assert bytes(seen[:]) == numbers
        blitter.fill(coherent, 0x62, bytes_per_pixel=1).wait(timeout=20)
        with coherent.locked(Access.READ):
            assert bytes(m[:]) == b"b" * SIZE


@pytest.mark.coherency
def test_seen_without_any_synchronisation(coherent: DmaBuf) -> None:
    """Not that one should: it shows that there is no second copy."""
    with Blitter() as blitter, coherent.map() as m:
        m[0] = 9
        job = blitter.fill(coherent, 0x63, bytes_per_pixel=1)
        job.wait(timeout=20)
        assert bytes(m[:]) == b"c" * SIZE


def test_with_strict(device: int) -> None:
    flags = lib.VDMABUF_ALLOC_COHERENT | lib.VDMABUF_ALLOC_STRICT
    with DmaBuf(alloc(device, flags=flags)) as buffer, buffer.map() as m:
        with buffer.locked(Access.WRITE):
            m[0] = 1
        child = os.fork()
        if child == 0:
            faulthandler.disable()
            with buffer.map() as own:
                own[0]
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGBUS
