# SPDX-License-Identifier: MIT
"""What devices ask of the memory, and who synchronises a mapping that stays."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import Actor, until
from buffers import ARM64, BOUNCING
from dma_device import FROM_DEVICE, TO_DEVICE, DmaDevice, bits
from exporter_calls import (
    PAGE,
    SIZE,
    alloc,
    closing,
    from_memfd,
    memfd_of,
    page_numbers,
    refused,
    stats,
)
from locks import READ, WRITE, lock, unlock

from dmabuf_sync import Access, Blitter, DmaBuf
from dmabuf_sync._uapi import lib

Devices = Callable[..., DmaDevice]
# Where arm64 has this zone it is of all 32 bits.
LOW_MEMORY = not ARM64 and "zone      DMA\n" in Path("/proc/zoneinfo").read_text()
COHERENT = lib.VDMABUF_ALLOC_COHERENT


def free_memory() -> int:
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("MemFree"))


# --- negotiation


def test_memory_comes_with_the_first_mapping(device: int, devices: Devices) -> None:
    size = 64 << 20
    before = free_memory()
    with closing(alloc(device, size)) as fd:
        one = devices()
        one.attach(fd)
        assert free_memory() > before - size // 2
        one.map()
        assert free_memory() < before - size // 2
        one.close()


@pytest.mark.skipif(BOUNCING, reason="everything is bounced")
@pytest.mark.parametrize("flags", [0, COHERENT])
@pytest.mark.parametrize("width", [24, 32])
def test_narrowest_mask_decides(
    device: int, devices: Devices, flags: int, width: int
) -> None:
    """Two devices are attached; the memory suits both, whichever maps first."""
    if width < 32 and not LOW_MEMORY:
        pytest.skip("no memory for so narrow a mask")
    wide, narrow = devices(), devices(bits(width))
    with closing(alloc(device, 1 << 18, flags=flags)) as fd:
        wide.attach(fd)
        narrow.attach(fd)
        maps = wide.map(), narrow.map()
        # Nothing is bounced: each mapping would have a copy of its own.
        assert maps[0].first_address == maps[1].first_address
        assert maps[1].last_address <= bits(width)
        wide.write(5, 1, 0x77)
        assert narrow.read(5) == 0x77
        narrow.close()
        wide.close()


@pytest.mark.skipif(BOUNCING, reason="everything is bounced")
@pytest.mark.skipif(not LOW_MEMORY, reason="memory may be anywhere")
def test_device_that_comes_too_late(device: int, devices: Devices) -> None:
    """The memory is there already, out of reach, and there is nothing to bounce it with."""
    late = devices(bits(24))
    for flags in (0, COHERENT):
        fd = alloc(device, flags=flags)
        with closing(fd), mmap.mmap(fd, SIZE), refused(errno.ENXIO):
            late.attach(fd)


@pytest.mark.skipif(BOUNCING, reason="everything is bounced")
@pytest.mark.skipif(not LOW_MEMORY, reason="memory may be anywhere")
@pytest.mark.parametrize("flags", [0, COHERENT])
def test_no_memory_within_reach(device: int, devices: Devices, flags: int) -> None:
    """It is known when the memory is needed, and others are served all the same."""
    narrow, other = devices(bits(12)), devices()
    with closing(alloc(device, flags=flags)) as fd:
        narrow.attach(fd)
        with refused(errno.ENXIO):
            narrow.map()
        narrow.close()
        other.attach(fd)
        other.map()
        other.close()


@pytest.mark.coherency
@pytest.mark.skipif(not BOUNCING, reason="nothing is bounced")
def test_no_room_to_bounce(device: int, devices: Devices) -> None:
    """Refused when it is mapped; what has been bounced by then has made room again."""
    one = devices()
    with closing(alloc(device, 96 << 20)) as large, closing(alloc(device, 16 << 20)) as small:
        one.attach(large)
        with refused(errno.EIO):
            one.map()
        one.detach()
        one.attach(small)
        one.map()
        one.close()


@pytest.mark.parametrize("limit", [PAGE, 3 * PAGE, 5 * PAGE + 100, 1 << 18])
def test_longest_segment(device: int, devices: Devices, limit: int) -> None:
    one = devices(segment=limit)
    with closing(alloc(device, 2 << 20)) as fd:
        one.attach(fd)
        mapped = one.map()
        assert mapped.longest <= limit
        assert mapped.segments >= (2 << 20) // limit
        one.close()


def test_long_segments(device: int, devices: Devices) -> None:
    """Where memory is not fragmented, pages come in pieces of 2 MiB, and not one by one."""
    one = devices()
    with closing(alloc(device, 8 << 20)) as fd:
        one.attach(fd)
        assert one.map().segments <= (8 << 20) // PAGE // 16
        one.close()


@pytest.mark.parametrize("boundary", [PAGE - 1, 4 * PAGE - 1, (1 << 16) - 1])
def test_boundary(device: int, devices: Devices, boundary: int) -> None:
    """No segment crosses a multiple: the module would have warned."""
    one = devices(boundary=boundary)
    with closing(alloc(device, 2 << 20)) as fd:
        one.attach(fd)
        assert one.map().longest <= boundary + 1
        one.write((1 << 20) + 7, 1, 0x55)
        assert one.read((1 << 20) + 7) == 0x55
        one.close()


@pytest.mark.parametrize(
    ("limits", "number"),
    [
        ({"mask": 0}, errno.ENODEV),
        ({"segment": PAGE - 1}, errno.EINVAL),
        ({"boundary": PAGE // 2 - 1}, errno.EINVAL),
    ],
)
def test_refused_at_attach(
    buffer: DmaBuf, devices: Devices, limits: dict[str, int], number: int
) -> None:
    one, other = devices(**limits), devices()
    with refused(number):
        one.attach(buffer.fileno())
    # And forgotten: others are not held to it.
    other.attach(buffer.fileno())
    other.map()
    other.close()


def _hear_signals() -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)


def test_signal_while_memory_is_looked_for(
    device: int, devices: Devices, actors: Callable[[int], list[Actor]]
) -> None:
    """EINTR, and the buffer is as before."""
    size = 192 << 20
    one = devices()
    # Too much to be bounced.
    with closing(alloc(device, size, flags=COHERENT if BOUNCING else 0)) as fd:
        one.attach(fd)
        (other,) = actors(1)
        other.call(_hear_signals)
        before = free_memory()
        other.start(one.map)
        until(lambda: free_memory() < before - size // 16, "looking for memory")
        other.send_signal(signal.SIGUSR1)
        with pytest.raises(InterruptedError):
            other.result()
        assert stats()["mappings"] == 0
        assert one.map().segments > 0
        one.close()


# --- mappings that stay


@pytest.mark.coherency
def test_announced_dma(buffer: DmaBuf, devices: Devices) -> None:
    """start_dma and end_dma synchronise; nobody unmaps."""
    one = devices()
    one.attach(buffer.fileno())
    one.map()
    with buffer.map() as m:
        for turn in range(1, 6):
            with buffer.locked(Access.WRITE):
                m[0] = turn
            one.start_dma()
            assert one.read(0) == turn
            one.write(1, 4, turn + 100)
            one.end_dma()
            with buffer.locked(Access.READ):
                assert bytes(m[:6]) == bytes([turn, *[turn + 100] * 4, 0])
    one.close()


@pytest.mark.coherency
def test_announced_dma_beside_a_reader(buffer: DmaBuf, devices: Devices) -> None:
    """What was written under the lock is cleaned for the device, though the CPU reads on."""
    one = devices()
    one.attach(buffer.fileno())
    one.map()
    with buffer.map() as m:
        for turn in range(1, 4):
            lock(buffer.fileno(), WRITE)
            m[0] = turn
            lock(buffer.fileno(), READ)
            one.start_dma(TO_DEVICE)
            assert one.read(0) == turn
            one.end_dma()
            unlock(buffer.fileno())
    one.close()


@pytest.mark.coherency
def test_devices_take_turns(buffer: DmaBuf, devices: Devices) -> None:
    """Each sees what the other has written, with both mappings in place."""
    one, other = devices(), devices()
    for each in (one, other):
        each.attach(buffer.fileno())
        each.map()
        each.start_dma(TO_DEVICE)
        each.end_dma()
    for turn in range(1, 6):
        one.start_dma()
        one.write(0, 10, turn)
        one.end_dma()
        other.start_dma()
        assert other.read(9) == turn
        other.write(PAGE, 10, turn + 50)
        other.end_dma()
        one.start_dma(TO_DEVICE)
        assert one.read(PAGE + 9) == turn + 50
        one.end_dma()
    with buffer.locked(Access.READ), buffer.map() as m:
        assert (m[9], m[PAGE + 9], m[PAGE + 10]) == (5, 55, 0)
    one.close()
    other.close()


@pytest.mark.coherency
def test_announced_beside_one_that_unmaps(buffer: DmaBuf, devices: Devices) -> None:
    one = devices()
    one.attach(buffer.fileno())
    one.map()
    one.start_dma(TO_DEVICE)
    one.end_dma()
    with Blitter() as blitter:
        blitter.fill(buffer, 0x66, bytes_per_pixel=1).wait(timeout=20)
    one.start_dma()
    assert one.read(100) == 0x66
    one.end_dma()
    one.close()


def synced(function: Callable[[], None]) -> int:
    before = stats()["synced_bytes"]
    function()
    return stats()["synced_bytes"] - before


def cpu_turn(buffer: DmaBuf, access: Access) -> None:
    with buffer.locked(access):
        pass


def dma_turn(one: DmaDevice, direction: int) -> None:
    one.start_dma(direction)
    one.end_dma()


def test_announced_dma_moves_only_what_is_newer(buffer: DmaBuf, devices: Devices) -> None:
    one = devices()
    one.attach(buffer.fileno())
    one.map()
    assert synced(lambda: dma_turn(one, TO_DEVICE)) == 0
    assert synced(lambda: dma_turn(one, TO_DEVICE)) == 0
    assert synced(lambda: cpu_turn(buffer, Access.READ)) == 0
    assert synced(lambda: dma_turn(one, TO_DEVICE)) == 0
    assert synced(lambda: cpu_turn(buffer, Access.WRITE)) == 0
    assert synced(lambda: cpu_turn(buffer, Access.WRITE)) == 0
    assert synced(lambda: dma_turn(one, TO_DEVICE)) == SIZE
    assert synced(lambda: dma_turn(one, TO_DEVICE)) == 0
    assert synced(lambda: dma_turn(one, FROM_DEVICE)) == SIZE
    assert synced(lambda: cpu_turn(buffer, Access.READ)) == 0
    one.close()


@pytest.mark.coherency
def test_reading_device_is_never_asked(buffer: DmaBuf, devices: Devices) -> None:
    """In the mapping's direction: it cannot have written anything."""
    one = devices()
    one.attach(buffer.fileno())
    one.map(TO_DEVICE)
    before = stats()
    with buffer.locked(Access.WRITE), buffer.map() as m:
        assert stats()["for_cpu_skipped"] == before["for_cpu_skipped"] + 1
        m[0] = 5
    assert stats()["synced_bytes"] == before["synced_bytes"] + SIZE
    assert one.read(0) == 5
    one.close()


@pytest.mark.coherency
def test_unannounced_mapping_that_stays(buffer: DmaBuf, devices: Devices) -> None:
    """The only device: every CPU access synchronises, as the DMA API alone would ask for."""
    one = devices()
    one.attach(buffer.fileno())
    one.map()
    with buffer.map() as m:
        for turn in range(1, 4):
            one.write(0, 2, turn)
            with buffer.locked(Access.WRITE):
                assert m[1] == turn
                m[2] = turn
            assert one.read(2) == turn
        flags = lib.DMA_BUF_SYNC_READ | lib.DMA_BUF_SYNC_WRITE
        one.write(0, 2, 9)
        for step in (lib.DMA_BUF_SYNC_START, lib.DMA_BUF_SYNC_END):
            fcntl.ioctl(buffer.fileno(), lib.DMA_BUF_IOCTL_SYNC, struct.pack("Q", step | flags))
            assert m[0] == 9
            m[2] = 10
        assert one.read(2) == 10
    one.close()


@pytest.mark.coherency
def test_memfd_window(device: int, devices: Devices) -> None:
    one = devices(segment=2 * PAGE)
    memfd = memfd_of(page_numbers(16), fcntl.F_SEAL_SHRINK)
    with closing(memfd), closing(from_memfd(device, memfd, 3 * PAGE, 5 * PAGE)) as fd:
        one.attach(fd)
        one.map()
        assert [one.read(n * PAGE) for n in range(5)] == [3, 4, 5, 6, 7]
        one.write(4 * PAGE, 1, 0x99)
        one.unmap()
        assert os.pread(memfd, 1, 7 * PAGE) == b"\x99"
        one.close()
