# SPDX-License-Identifier: MIT
"""The DMA engine writes the right bytes, and no others, on buffers of any exporter."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Callable

import numpy as np
import pytest
from blits import (
    PATIENCE,
    SOFT,
    Device,
    apply,
    noise,
    not_on_edu,
    on_both,
    read,
    write,
)
from buffers import ARM64, BOUNCING, COHERENT, EXPORTERS, allocate, available

from dmabuf_sync import Access, Blit, Blitter, Copy, DmaBuf, Exporter, Fill, Operation, Rect

Make = Callable[[int], list[DmaBuf]]

pytestmark = pytest.mark.coherency


@on_both
def test_copy_from_any_exporter(
    device: Device, blitter: Blitter, pair: tuple[DmaBuf, DmaBuf]
) -> None:
    src, dst = pair
    data = noise(1, device.size)
    write(src, data)
    blitter.copy(src, dst, device.size).wait(PATIENCE)
    assert np.array_equal(read(dst), data)


def test_copy_to_any_exporter(
    device: Device, blitter: Blitter, pair: tuple[DmaBuf, DmaBuf]
) -> None:
    dst, src = pair
    data = noise(2, device.size)
    write(src, data)
    blitter.copy(src, dst, device.size).wait(PATIENCE)
    assert np.array_equal(read(dst, device.size), data)


@pytest.mark.parametrize(
    ("src_offset", "dst_offset", "length"),
    [(0, 0, 1), (1, 4095, 2), (4095, 1, 4097), (1234, 5432, 1001), (0, 1, None), (4321, 0, None)],
)
def test_copy_parts(
    device: Device,
    blitter: Blitter,
    pair: tuple[DmaBuf, DmaBuf],
    src_offset: int,
    dst_offset: int,
    length: int | None,
) -> None:
    """No length: as many bytes as there are."""
    src, dst = pair
    length = length or device.size - max(src_offset, dst_offset)
    data, expected = noise(3, device.size), noise(4, device.size)
    write(src, data)
    write(dst, expected)
    blitter.copy(src, dst, length, src_offset=src_offset, dst_offset=dst_offset).wait(PATIENCE)
    expected[dst_offset : dst_offset + length] = data[src_offset : src_offset + length]
    assert np.array_equal(read(dst, device.size), expected)


@pytest.mark.parametrize("bpp", [1, 2, 3, 4])
def test_fill_rectangle(device: Device, blitter: Blitter, dst: DmaBuf, bpp: int) -> None:
    expected = noise(5, device.size)
    write(dst, expected)
    rect = Rect(7, 3, 41, device.rows, pitch=401, bytes_per_pixel=bpp, offset=77)
    blitter.fill(dst, 0x44332211, rect).wait(PATIENCE)
    pixel = np.frombuffer(b"\x11\x22\x33\x44"[:bpp], np.uint8)
    for row in range(3, 3 + device.rows):
        start = 77 + row * 401 + 7 * bpp
        expected[start : start + 41 * bpp] = np.tile(pixel, 41)
    assert np.array_equal(read(dst), expected)


@pytest.mark.parametrize("bpp", [1, 2, 3, 4])
def test_blit_rectangle(
    device: Device, blitter: Blitter, pair: tuple[DmaBuf, DmaBuf], bpp: int
) -> None:
    src, dst = pair
    data, expected = noise(6, device.size), noise(7, device.size)
    write(src, data)
    write(dst, expected)
    source = Rect(5, 2, 60, device.rows, pitch=301, bytes_per_pixel=bpp, offset=13)
    target = Rect(1, 9, 60, device.rows, pitch=513, bytes_per_pixel=bpp, offset=1000)
    blitter.blit(src, dst, source, target).wait(PATIENCE)
    for row in range(device.rows):
        a = 13 + (2 + row) * 301 + 5 * bpp
        b = 1000 + (9 + row) * 513 + bpp
        expected[b : b + 60 * bpp] = data[a : a + 60 * bpp]
    assert np.array_equal(read(dst, device.size), expected)


@pytest.mark.parametrize("bpp", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "rows"), [(30, 0.5), (90, 1.5), (60, 0.17), (1, 0)])
def test_scale(
    device: Device, blitter: Blitter, make: Make, bpp: int, width: int, rows: float
) -> None:
    """To so many columns, and so many rows for each row of the source."""
    src, dst = make(2)
    contents = {src.fileno(): noise(14, device.size), dst.fileno(): noise(15, device.size)}
    for buffer in (src, dst):
        write(buffer, contents[buffer.fileno()])
    height = max(int(rows * device.rows), 1)
    source = Rect(3, 4, 60, device.rows, pitch=317, bytes_per_pixel=bpp, offset=5)
    target = Rect(2, 1, width, height, pitch=411, bytes_per_pixel=bpp, offset=999)
    blitter.blit(src, dst, source, target, scale=True).wait(PATIENCE)
    apply(Blit(src, source, target, scale=True), contents, dst.fileno())
    assert np.array_equal(read(dst), contents[dst.fileno()])


def test_scale_a_wide_row(device: Device, blitter: Blitter, make: Make) -> None:
    """Much wider than what the engine takes at once, both ways."""
    src, dst = make(2)
    size = device.size
    contents = {src.fileno(): noise(16, size), dst.fileno(): noise(17, size)}
    for buffer in (src, dst):
        write(buffer, contents[buffer.fileno()])
    for source, target in (
        (device.row(), Rect(0, 0, 7, 3, pitch=64)),
        (Rect(0, 0, 5, 1, pitch=64), Rect(0, 0, size // 8, 2, pitch=size // 2)),
    ):
        blitter.blit(src, dst, source, target, scale=True).wait(PATIENCE)
        apply(Blit(src, source, target, scale=True), contents, dst.fileno())
        assert np.array_equal(read(dst), contents[dst.fileno()])


def test_blend_of_every_alpha(device: Device, blitter: Blitter, make: Make) -> None:
    """256 levels of alpha over 256 levels of grey, and colours that overflow."""
    src, dst = make(2)
    rows = 64 if device is SOFT else 2
    level = np.arange(256, dtype=np.uint8)
    over = np.zeros((rows, 256, 4), np.uint8)
    over[..., 3] = level
    over[..., :3] = noise(18, rows * 256 * 3).reshape(rows, 256, 3)
    over[: rows // 2, :, :3] //= 4
    below = noise(19, device.size)
    write(src, over.reshape(-1))
    write(dst, below)
    rect = Rect(0, 0, 256, rows, pitch=1024)
    blitter.blit(src, dst, rect, blend=True).wait(PATIENCE)
    contents = {src.fileno(): over.reshape(-1), dst.fileno(): below}
    apply(Blit(src, rect, rect, blend=True), contents, dst.fileno())
    assert np.array_equal(read(dst), contents[dst.fileno()])


def test_one_row_of_many_pages(device: Device, blitter: Blitter, dst: DmaBuf) -> None:
    """A pixel of three bytes crosses pages in every way."""
    size = device.size
    pixels = (size - 1) // 3
    rect = Rect(0, 0, pixels, 1, pitch=size, bytes_per_pixel=3, offset=1)
    blitter.fill(dst, 0x332211, rect).wait(PATIENCE)
    expected = np.zeros(size, np.uint8)
    expected[1 : 1 + 3 * pixels] = np.tile(np.frombuffer(b"\x11\x22\x33", np.uint8), pixels)
    assert np.array_equal(read(dst), expected)


def _random_rect(
    rng: np.random.Generator, low: int, high: int, width: int, height: int, bpp: int
) -> Rect:
    """Somewhere in [low, high), which has room for 18 KiB."""
    x, y = (int(rng.integers(0, limit)) for limit in (20, 3))
    pitch = (x + width) * bpp + int(rng.integers(0, 50))
    length = (y + height - 1) * pitch + (x + width) * bpp
    offset = low + int(rng.integers(0, high - low - length + 1))
    return Rect(x, y, width, height, pitch, bpp, offset)


def _random_operation(
    rng: np.random.Generator, buffers: list[DmaBuf], size: int, device: Device
) -> Operation:
    """On buffers[0]. Where it is also the source, each has a half for itself."""
    most = min(size // 2, device.size)
    tallest = min(device.rows, 40) + 1
    src = buffers[rng.integers(0, len(buffers))]
    halves = [(0, size // 2), (size // 2, size)]
    rng.shuffle(halves)
    src_part, dst_part = halves if src is buffers[0] else [(0, size), (0, size)]
    width, height, bpp = (int(rng.integers(1, limit)) for limit in (61, tallest, 5))
    match int(rng.integers(0, 4)):
        case 0:
            rect = _random_rect(rng, 0, size, width, height, bpp)
            return Fill(rect, int(rng.integers(0, 1 << 32)))
        case 1:
            length = int(rng.integers(1, most + 1))
            src_offset = int(rng.integers(src_part[0], src_part[1] - length + 1))
            dst_offset = int(rng.integers(dst_part[0], dst_part[1] - length + 1))
            return Copy(src, length, src_offset, dst_offset)
        case 2:
            source = _random_rect(rng, *src_part, width, height, bpp)
            target = _random_rect(rng, *dst_part, width, height, bpp)
            return Blit(src, source, target)
        case _:
            blend = bool(rng.integers(0, 2))
            bpp = 4 if blend else bpp
            source = _random_rect(rng, *src_part, width, height, bpp)
            wider, taller = (int(rng.integers(1, limit)) for limit in (61, tallest))
            target = _random_rect(rng, *dst_part, wider, taller, bpp)
            return Blit(src, source, target, scale=True, blend=blend)


@pytest.mark.parametrize(
    ("size", "seed"),
    [(65536, 1)]
    + [
        pytest.param(size, seed, marks=pytest.mark.slow)
        for size in (36864, 65536, 249856)
        for seed in (2, 3)
    ],
)
def test_random_jobs(
    device: Device, blitter: Blitter, exporter: str, size: int, seed: int
) -> None:
    """Jobs of many operations with several sources, the destination among them."""
    rng = np.random.default_rng(seed)
    with contextlib.ExitStack() as stack:
        buffers = [stack.enter_context(DmaBuf(allocate(exporter, size))) for _ in range(4)]
        contents = {buffer.fileno(): noise(int(rng.integers(1 << 30)), size) for buffer in buffers}
        for buffer in buffers:
            write(buffer, contents[buffer.fileno()])
        for turn in range(4):
            # Each buffer is the destination once, and the next job reads it.
            turned = buffers[turn:] + buffers[:turn]
            count = 12 if device is SOFT else 2
            operations = [_random_operation(rng, turned, size, device) for _ in range(count)]
            job = blitter.submit(turned[0], operations, wait=False)
            for operation in operations:
                apply(operation, contents, turned[0].fileno())
        job.wait(PATIENCE)
        for buffer in buffers:
            assert np.array_equal(read(buffer, size), contents[buffer.fileno()])


def test_sources_of_all_exporters_in_one_job(
    device: Device, blitter: Blitter, dst: DmaBuf
) -> None:
    names = [name for name in EXPORTERS if available(name) and (not BOUNCING or name in COHERENT)]
    expected = np.zeros(device.size, np.uint8)
    share = device.size // len(names)
    part = slice(300, 300 + share * 2 // 3)
    with contextlib.ExitStack() as stack:
        operations: list[Operation] = []
        for index, name in enumerate(names):
            src = stack.enter_context(DmaBuf(allocate(name, device.size)))
            data = noise(index, device.size)
            write(src, data)
            at, length = share * index, part.stop - part.start
            operations.append(Copy(src, length, part.start, at))
            expected[at : at + length] = data[part]
        blitter.submit(dst, operations).wait(PATIENCE)
        assert np.array_equal(read(dst), expected)


@not_on_edu("256 operations take it a minute")
def test_as_many_sources_as_operations(blitter: Blitter, dst: DmaBuf) -> None:
    most = blitter.info().max_ops
    with contextlib.ExitStack() as stack, Exporter() as exporter:
        sources = [stack.enter_context(exporter.allocate(4096)) for _ in range(most)]
        for index, src in enumerate(sources):
            write(src, np.full(100, index, np.uint8))
        operations = [Copy(src, 100, 0, 200 * index) for index, src in enumerate(sources)]
        blitter.submit(dst, operations).wait(PATIENCE)
        seen = read(dst)
    for index in range(most):
        assert (seen[200 * index : 200 * index + 100] == index).all()
        assert not seen[200 * index + 100 : 200 * index + 200].any()


@not_on_edu("2 MiB take it minutes")
def test_large_buffer(blitter: Blitter) -> None:
    """More than a device that is bounced can take in one piece."""
    size = (2 << 20) + 4096
    with Exporter() as exporter, exporter.allocate(size) as a, exporter.allocate(size) as b:
        data = noise(11, size)
        write(a, data)
        blitter.copy(a, b, size - 1, dst_offset=1).wait(PATIENCE)
        seen = read(b, size)
        assert seen[0] == 0
        assert np.array_equal(seen[1:], data[:-1])


@on_both
def test_memory_of_a_memfd(device: Device, blitter: Blitter) -> None:
    """The engine writes the file itself."""
    memfd = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        expected = noise(12, device.size)
        os.write(memfd, expected.tobytes())
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        with Exporter() as exporter, exporter.from_memfd(memfd, 0, device.size) as buffer:
            blitter.copy(buffer, buffer, 1000, src_offset=100, dst_offset=5000).wait(PATIENCE)
            expected[5000:6000] = expected[100:1100]
            assert np.array_equal(read(buffer), expected)
            assert os.pread(memfd, device.size, 0) == expected.tobytes()
    finally:
        os.close(memfd)


@pytest.mark.parametrize("picture", [0, 1])
def test_within_one_buffer(device: Device, blitter: Blitter, dst: DmaBuf, picture: int) -> None:
    """Side by side in one picture, or in two; also by way of another file descriptor."""
    data = noise(13, device.size)
    write(dst, data)
    left = Rect(0, 0, 50, device.rows, pitch=400)
    right = Rect(50, 0, 50, device.rows, pitch=400, offset=picture * 400 * device.rows)
    with DmaBuf(os.dup(dst.fileno())) as again:
        # Without a lock: closing a duplicate gives back what is locked.
        blitter.blit(again, dst, left, right).wait(PATIENCE)
    contents = {dst.fileno(): data}
    apply(Blit(dst, left, right), contents, dst.fileno())
    assert np.array_equal(read(dst), data)


def test_jobs_in_a_row_see_each_other(device: Device, blitter: Blitter, make: Make) -> None:
    """Queued behind a CPU lock together; each reads what the one before wrote."""
    buffers = make(6)
    data = noise(10, device.size)
    buffers[0].lock(Access.WRITE)
    jobs = [blitter.copy(a, b, wait=False) for a, b in itertools.pairwise(buffers)]
    with buffers[0].map() as memory:
        np.frombuffer(memory, np.uint8)[:] = data
    assert not jobs[0].granted
    buffers[0].unlock()
    for job in jobs:
        job.wait(PATIENCE)
    for buffer in buffers:
        assert np.array_equal(read(buffer), data)


@pytest.mark.parametrize("exporter", COHERENT)
def test_cpu_and_dma_take_turns(device: Device, blitter: Blitter, exporter: str) -> None:
    if not available(exporter):
        pytest.skip(f"this kernel has no {exporter}")
    size = device.size
    with DmaBuf(allocate(exporter, size)) as a, DmaBuf(allocate(exporter, size)) as b:
        for turn in range(min(8, device.times)):
            write(a, np.full(size, turn, np.uint8))
            blitter.copy(a, b, size, wait=False)
            assert (read(b) == turn).all()  # the lock waits for the job
            blitter.copy(b, a, size // 2, dst_offset=size // 2, wait=False)
            blitter.fill(a, 0xA0 + turn, Rect(0, 0, 100, 1, pitch=100, bytes_per_pixel=1))
            seen = read(a)
            assert (seen[:100] == 0xA0 + turn).all()
            assert (seen[100:] == turn).all()


@pytest.mark.parametrize("name", EXPORTERS)
def test_exporter_that_never_synchronises_is_named(
    device: Device, blitter: Blitter, name: str
) -> None:
    if not available(name):
        pytest.skip(f"this kernel has no {name}")
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.lseek(log, 0, os.SEEK_END)
    with DmaBuf(allocate(name, device.size)) as buffer:
        blitter.fill(buffer, 1, Rect(0, 0, 8, 1, pitch=32)).wait(PATIENCE)
    said = []
    with contextlib.suppress(BlockingIOError):
        while True:
            said.append(os.read(log, 8192).decode())
    os.close(log)
    warned = any("never synchronises" in line for line in said)
    # On arm64 a device of no bus is not coherent, and the one on PCI has an IOMMU in between.
    own_view = device is SOFT if ARM64 else BOUNCING
    assert warned == (own_view and name not in COHERENT)
