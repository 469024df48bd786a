# SPDX-License-Identifier: MIT
"""The CPU and devices on bytes of one buffer at once (C10): each keeps what it has written."""

from __future__ import annotations

import fcntl
import os
import random
import struct
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from exporter_calls import LINE, PAGE, SIZE, alloc, closing, lock_lines
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses, until_waiting

from dmabuf_sync import Access, Blitter, Copy, DmaBuf, Rect, Sync
from dmabuf_sync._uapi import lib

Actors = Callable[[int], list[Actor]]
SPEED = "/sys/module/vblit/parameters/bytes_per_second"


@pytest.fixture
def speed() -> Iterator[Callable[[int], None]]:
    """speed(bytes per second) of the engine, until the test is over."""

    def change(value: int) -> None:
        with open(SPEED, "w") as file:
            file.write(str(value))

    yield change
    change(0)


def piece(offset: int, length: int) -> Rect:
    return Rect(0, 0, length, 1, pitch=length, bytes_per_pixel=1, offset=offset)


def whole_lines(length: int) -> int:
    return -(-length // LINE) * LINE


def test_device_that_writes_the_end_keeps_nobody_from_the_beginning(
    buffer: DmaBuf, actors: Actors
) -> None:
    """It is not one that writes everything, behind which nobody need be looked at."""
    fd = buffer.fileno()
    (other,) = actors(1)
    lock(fd, WRITE, 0, 100)
    lock(fd, WRITE, 2 * PAGE, 100)
    with Sync("device") as device:
        device.add(fd, Access.WRITE | Access.DMA, offset=PAGE)
        device.request()
        other.start(lock, fd, WRITE, 0, 100)
        until_waiting(other, fd)
        unlock(fd, 0, 100)
        other.result()
        other.call(unlock, fd)
        unlock(fd)
        device.unlock()


@pytest.mark.coherency
@pytest.mark.parametrize("edge", [whole_lines(100), PAGE, whole_lines(5 * PAGE + 3)])
def test_dma_beside_the_cpu(buffer: DmaBuf, blitter: Blitter, edge: int) -> None:
    """The CPU holds and writes one part while the engine maps, writes and unmaps another."""
    fd = buffer.fileno()
    with buffer.map() as m:
        lock(fd, WRITE, 0, edge)
        m[:edge] = b"c" * edge
        blitter.fill(buffer, 0x64, piece(edge, 1000)).wait(timeout=20)
        m[0] = 0x43
        blitter.fill(buffer, 0x65, piece(edge + 1000, 1000)).wait(timeout=20)
        unlock(fd)
        with buffer.locked(Access.READ):
            assert bytes(m[: edge + 2001]) == (
                b"C" + b"c" * (edge - 1) + b"d" * 1000 + b"e" * 1000 + b"\0"
            )


@pytest.mark.coherency
def test_cpu_writes_while_the_job_has_it_mapped(
    buffer: DmaBuf, blitter: Blitter, speed: Callable[[int], None]
) -> None:
    """When the job ends its bytes come back, and nothing else."""
    fd = buffer.fileno()
    edge = whole_lines(1000)
    speed(20000)
    with buffer.map() as m:
        lock(fd, WRITE, 0, edge)
        job = blitter.fill(buffer, 0x6B, piece(edge, 4000))
        m[:edge] = b"n" * edge
        assert not job.done
        job.wait(timeout=20)
        assert bytes(m[:edge]) == b"n" * edge
        unlock(fd)
        with buffer.locked(Access.READ):
            assert bytes(m[: edge + 4001]) == b"n" * edge + b"k" * 4000 + b"\0"


@pytest.mark.coherency
def test_many_small_locks_while_the_job_has_it_mapped(
    buffer: DmaBuf, blitter: Blitter, speed: Callable[[int], None]
) -> None:
    """Taken and given back in no order; what lies between them is the device's."""
    fd = buffer.fileno()
    cells = list(range(0, SIZE // 2, 512))
    order = random.Random(7)
    order.shuffle(cells)
    speed(20000)
    with buffer.map() as m:
        for start in cells:
            lock(fd, WRITE, start, 100)
        job = blitter.fill(buffer, 0x6B, piece(SIZE // 2, 8000))
        for start in cells:
            m[start : start + 100] = b"n" * 100
        assert not job.done
        job.wait(timeout=20)
        order.shuffle(cells)
        for start in cells:
            assert bytes(m[start : start + 100]) == b"n" * 100
            unlock(fd, start, 100)
        with buffer.locked(Access.READ):
            row = b"n" * 100 + b"\0" * 412
            assert bytes(m[: SIZE // 2]) == row * len(cells)
            assert bytes(m[SIZE // 2 : SIZE // 2 + 8001]) == b"k" * 8000 + b"\0"


@pytest.mark.coherency
def test_device_reads_what_was_given_back(
    device: int, buffer: DmaBuf, blitter: Blitter, actors: Actors
) -> None:
    """Half of a lock is given back: a device has it at once, and the rest stays ours."""
    fd = buffer.fileno()
    with DmaBuf(alloc(device)) as copy, buffer.map() as m, copy.map() as seen:
        lock(fd, WRITE)
        m[:SIZE] = b"w" * SIZE
        job = blitter.copy(buffer, copy, PAGE, wait=False)
        until(lambda: [a.state for a in accesses(fd) if a.kind == "job"] == ["waiting"])
        unlock(fd, 0, PAGE)
        job.wait(timeout=20)
        m[PAGE:SIZE] = b"x" * (SIZE - PAGE)
        with copy.locked(Access.READ):
            assert bytes(seen[: PAGE + 1]) == b"w" * PAGE + b"\0"
        unlock(fd)
        blitter.copy(buffer, copy).wait(timeout=20)
        with copy.locked(Access.READ):
            assert bytes(seen[:SIZE]) == b"w" * PAGE + b"x" * (SIZE - PAGE)


@pytest.mark.coherency
def test_device_reads_beside_readers(device: int, buffer: DmaBuf, blitter: Blitter) -> None:
    """What was written and is only read now is cleaned for the device; the reader goes on."""
    fd = buffer.fileno()
    with DmaBuf(alloc(device)) as copy, buffer.map() as m, copy.map() as seen:
        lock(fd, WRITE)
        m[:4] = b"bytes"[:4]
        lock(fd, READ)
        blitter.copy(buffer, copy).wait(timeout=20)
        with copy.locked(Access.READ):
            assert bytes(seen[:4]) == b"byte"
        unlock(fd)


def test_overlap_waits(buffer: DmaBuf, blitter: Blitter) -> None:
    """In cache lines."""
    fd = buffer.fileno()
    lock_lines(fd, WRITE, 100, 100)
    for start, length, waits in [(0, 100, False), (200, 50, False), (0, 101, True), (199, 9, True)]:
        job = blitter.fill(buffer, 1, piece(start * LINE, length * LINE), wait=False)
        if not waits:
            job.wait(timeout=20)
            continue
        until(lambda: "waiting" in [a.state for a in accesses(fd)])
        unlock(fd)
        job.wait(timeout=20)
        lock_lines(fd, WRITE, 100, 100)
    unlock(fd)


@pytest.mark.skipif(LINE == 1, reason="this machine's caches take no part in DMA")
def test_no_cache_line_in_common(buffer: DmaBuf, blitter: Blitter) -> None:
    """No byte is in both, but what the CPU writes back would take the device's with it."""
    fd = buffer.fileno()
    lock(fd, WRITE, 0, LINE + 1)
    job = blitter.fill(buffer, 1, piece(LINE + 1, 1), wait=False)
    until(lambda: "waiting" in [a.state for a in accesses(fd)])
    unlock(fd, LINE)
    job.wait(timeout=20)
    unlock(fd)


def test_reader_beside_a_reading_device(device: int, buffer: DmaBuf, blitter: Blitter) -> None:
    lock(buffer.fileno(), READ)
    with DmaBuf(alloc(device)) as copy:
        blitter.copy(buffer, copy).wait(timeout=20)
    unlock(buffer.fileno())


def test_cpu_does_not_wait_for_a_job_elsewhere(
    buffer: DmaBuf, blitter: Blitter, speed: Callable[[int], None]
) -> None:
    """The job is a fence on the buffer, but not one for these bytes."""
    fd = buffer.fileno()
    speed(2000)
    job = blitter.fill(buffer, 7, piece(0, 4000))
    trylock(fd, WRITE, PAGE, 100)
    lock(fd, WRITE, 2 * PAGE, 100)
    with pytest.raises(BlockingIOError):
        trylock(fd, READ, 3999, 1)
    unlock(fd)
    with Sync("beside") as sync:
        sync.add(buffer, Access.WRITE, offset=whole_lines(4000), length=10)
        sync.lock(blocking=False)
        sync.unlock()
        sync.lock()
        sync.unlock()
    assert not job.done
    speed(0)
    job.wait(timeout=20)
    job.close()


@pytest.mark.coherency
def test_sync_ioctl_of_a_range_holder(
    buffer: DmaBuf, blitter: Blitter, speed: Callable[[int], None]
) -> None:
    """The ioctl has no range: it must not touch the bytes of a job that is at work."""
    fd = buffer.fileno()
    with buffer.map() as m:
        lock(fd, WRITE, 0, 100)
        m[:100] = b"h" * 100
        speed(40000)
        job = blitter.fill(buffer, 0x6A, piece(PAGE, 4 * PAGE))
        end = lib.DMA_BUF_SYNC_END | lib.DMA_BUF_SYNC_READ | lib.DMA_BUF_SYNC_WRITE
        while not job.done:
            fcntl.ioctl(fd, lib.DMA_BUF_IOCTL_SYNC, struct.pack("Q", end))
        speed(0)
        unlock(fd)
        with buffer.locked(Access.READ):
            assert bytes(m[:100]) == b"h" * 100
            assert bytes(m[PAGE : 5 * PAGE]) == b"j" * 4 * PAGE


def test_copy_within_one_buffer(buffer: DmaBuf, blitter: Blitter) -> None:
    """Source and destination in one buffer: the job's range is from the one to the other."""
    fd = buffer.fileno()
    lock(fd, WRITE, 0, PAGE)
    blitter.submit(buffer, [Copy(buffer, PAGE, src_offset=PAGE, dst_offset=4 * PAGE)]).wait(20)
    job = blitter.submit(
        buffer, [Copy(buffer, 10, src_offset=PAGE - 1, dst_offset=8 * PAGE)], wait=False
    )
    until(lambda: "waiting" in [a.state for a in accesses(fd)])
    unlock(fd)
    job.wait(timeout=20)


CELL = 512


def _work(fd: int, index: int, rounds: int) -> list[tuple[int, int]]:
    """Write cells under a lock, sometimes with its neighbours; what this one wrote last."""
    chance = random.Random(index)
    last: dict[int, int] = {}
    with DmaBuf(os.dup(fd)) as buffer, buffer.map() as m:
        for turn in range(rounds):
            cell = index * 8 + chance.randrange(6)
            count = chance.randrange(1, 3)
            start = cell * CELL - chance.randrange(2) * 3
            lock(fd, WRITE, max(start, index * 8 * CELL), count * CELL)
            for n in range(cell, cell + count - 1 or cell + 1):
                value = turn % 250 + 1
                m[n * CELL : n * CELL + 200] = bytes([value]) * 200
                last[n] = value
            unlock(fd)
    return sorted(last.items())


@pytest.mark.coherency
@pytest.mark.timeout(300)
def test_nobody_loses_bytes(device: int, blitter: Blitter, actors: Actors) -> None:
    """Two processes and the engine on neighbouring cells of one buffer, under other's noses.

    Process n has the first 200 bytes of cells 8 n to 8 n + 7, the engine the last
    312 bytes of every cell, and only locks keep their moments apart.
    """
    size = 32 * CELL
    chance = random.Random(7)
    fd = alloc(device, size)
    workers = actors(2)
    engine: dict[int, int] = {}
    with closing(fd), DmaBuf(os.dup(fd)) as buffer, buffer.map() as m:
        for index, actor in enumerate(workers):
            actor.start(_work, fd, index, 300)
        turn = 0
        while any(actor.running() for actor in workers) or turn < 50:
            turn += 1
            cell = chance.randrange(32)
            value = turn % 250 + 1
            job = blitter.fill(buffer, value, piece(cell * CELL + 200, 312))
            if turn % 3:
                job.wait(timeout=20)
            engine[cell] = value
        written = {cell: value for actor in workers for cell, value in actor.result()}
        with buffer.locked(Access.READ):
            for cell, value in written.items():
                assert bytes(m[cell * CELL : cell * CELL + 200]) == bytes([value]) * 200
            for cell, value in engine.items():
                assert bytes(m[cell * CELL + 200 : (cell + 1) * CELL]) == bytes([value]) * 312
