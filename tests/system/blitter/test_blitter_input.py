# SPDX-License-Identifier: MIT
"""Bad input to /dev/vblit: the documented errno, and nothing changes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import mmap
import os
import resource
import tempfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from blits import EDU, SOFT, Device, rows, span, submit
from buffers import allocate_readonly
from state import accesses, counters, open_files

from dmabuf_sync import Blit, Blitter, Rect, Sync
from dmabuf_sync._uapi import ffi, lib

SIZE = SOFT.size
GOOD = {
    "op": lib.VBLIT_OP_FILL,
    "dst__pitch": 64,
    "dst__bytes_per_pixel": 4,
    "dst__width": 16,
    "dst__height": 8,
}
COPY = {"op": lib.VBLIT_OP_COPY, "length": 100}
BLIT = {**GOOD, "op": lib.VBLIT_OP_BLIT}
BLIT |= {name.replace("dst", "src"): value for name, value in BLIT.items() if "__" in name}
BIG = 0xFFFFFFFF
HUGE = (1 << 64) - 1
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(
    params=[SOFT, pytest.param(replace(EDU, size=SIZE), marks=pytest.mark.slow)],
    ids=lambda each: each.name,
)
def device(request: pytest.FixtureRequest, set_vblit: Callable[[str, int], None]) -> Device:
    """Each back-end. Only what is checked matters here: edu, which is slow, executes nothing."""
    made: Device = request.param
    if not os.path.exists(made.path):
        pytest.skip(f"this guest has no {made.name}")
    if made.name == EDU.name:
        set_vblit("fault", 2)
    return made


def _state() -> tuple[int, set[str]]:
    return counters()["requests"], open_files()


def _refused(blitter: Blitter, ops: list[dict[str, int]], number: int, /, **fields: int) -> None:
    """SUBMIT fails with this errno, no job has begun and no descriptor has appeared."""
    gc.collect()
    requests, descriptors = _state()
    error = submit(blitter, ops, **fields)
    assert errno.errorcode.get(error, error) == errno.errorcode[number]
    assert _state()[0] == requests
    assert _state()[1] <= descriptors


@pytest.mark.parametrize(
    "changes",
    [
        {"op": 3},
        {"op": BIG},
        {"flags": lib.VBLIT_OP_SCALE},
        {"flags": lib.VBLIT_OP_BLEND},
        {"flags": 1 << 31},
        {"dst__width": 0},
        {"dst__height": 0},
        {"dst__width": 17},
        {"dst__width": BIG},
        {"dst__x": 1},
        {"dst__bytes_per_pixel": 0},
        {"dst__bytes_per_pixel": 5},
        {"dst__bytes_per_pixel": BIG},
        {"dst__pitch": 0},
        {"dst__pitch": 63},
        {"dst__height": 1025},
        {"dst__height": BIG},
        {"dst__y": 1017},
        {"dst__offset": SIZE},
        {"dst__offset": HUGE},
        {"dst__offset": HUGE - 511},
        {"dst__x": BIG, "dst__pitch": BIG},
        {"dst__y": BIG, "dst__height": BIG, "dst__pitch": BIG},
        {"dst__y": BIG, "dst__height": BIG, "dst__pitch": BIG, "dst__offset": HUGE},
        {"src_fd": 0},
        {"length": 1},
        {"src__x": 1},
        {"src__offset": 1},
    ],
)
def test_bad_fill(blitter: Blitter, buf: int, changes: dict[str, int]) -> None:
    """As the last of two operations: the first is not done either."""
    assert submit(blitter, [GOOD], dst_fd=buf) == 0
    _refused(blitter, [GOOD, {**GOOD, **changes}], errno.EINVAL, dst_fd=buf)


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"length": 0}, errno.EINVAL),
        ({"length": SIZE + 1}, errno.EINVAL),
        ({"length": HUGE}, errno.EINVAL),
        ({"flags": 1}, errno.EINVAL),
        ({"src__offset": SIZE - 99}, errno.EINVAL),
        ({"src__offset": HUGE - 50}, errno.EINVAL),
        ({"dst__offset": SIZE - 99}, errno.EINVAL),
        ({"dst__offset": HUGE - 50}, errno.EINVAL),
        ({"color": 1}, errno.EINVAL),
        ({"dst__width": 1}, errno.EINVAL),
        ({"src__bytes_per_pixel": 4}, errno.EINVAL),
        ({"src_fd": -1}, errno.EBADF),
        ({"src_fd": 999999}, errno.EBADF),
    ],
)
def test_bad_copy(
    blitter: Blitter, bufs: Callable[[int], list[int]], changes: dict[str, int], number: int
) -> None:
    src, dst = bufs(2)
    assert submit(blitter, [{**COPY, "src_fd": src}], dst_fd=dst) == 0
    _refused(blitter, [GOOD, {**COPY, "src_fd": src, **changes}], number, dst_fd=dst)


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"color": 1}, errno.EINVAL),
        ({"length": 1}, errno.EINVAL),
        ({"src__width": 15}, errno.EINVAL),
        ({"dst__height": 7}, errno.EINVAL),
        ({"dst__bytes_per_pixel": 2}, errno.EINVAL),
        ({"src__offset": SIZE - 511}, errno.EINVAL),
        ({"dst__offset": SIZE - 511}, errno.EINVAL),
        ({"src__y": BIG, "src__pitch": BIG}, errno.EINVAL),
        ({"src_fd": -1}, errno.EBADF),
        ({"flags": 4}, errno.EINVAL),
        ({"flags": 1 << 31}, errno.EINVAL),
        ({"flags": lib.VBLIT_OP_SCALE, "dst__width": 17}, errno.EINVAL),
        ({"flags": lib.VBLIT_OP_SCALE, "dst__width": 0}, errno.EINVAL),
        ({"flags": lib.VBLIT_OP_SCALE, "dst__bytes_per_pixel": 2}, errno.EINVAL),
        ({"flags": lib.VBLIT_OP_BLEND, "dst__width": 15}, errno.EINVAL),
        (
            {"flags": lib.VBLIT_OP_BLEND, "src__bytes_per_pixel": 2, "dst__bytes_per_pixel": 2},
            errno.EINVAL,
        ),
    ],
)
def test_bad_blit(
    blitter: Blitter, bufs: Callable[[int], list[int]], changes: dict[str, int], number: int
) -> None:
    src, dst = bufs(2)
    assert submit(blitter, [{**BLIT, "src_fd": src}], dst_fd=dst) == 0
    _refused(blitter, [{**BLIT, "src_fd": src, **changes}], number, dst_fd=dst)


NUMBERS = [0, 1, 2, 3, 4, 5, 64, 255, 256, SIZE - 1, SIZE, 1 << 16, 1 << 31, BIG - 1, BIG]


def _rect(values: list[int], offset: int = 0) -> Rect:
    x, y, width, height, pitch, bpp = values
    return Rect(x, y, width, height, pitch, bpp, offset)


def _random_rect(rng: np.random.Generator) -> Rect:
    """Often just right or just wrong, sometimes with numbers that overflow."""
    width, height, x, y = (int(rng.integers(0, limit)) for limit in (40, 40, 8, 8))
    bpp = int(rng.integers(1, 5))
    pitch = (x + width) * bpp + int(rng.integers(-2, 60))
    values = [x, y, width, height, max(pitch, 0), bpp]
    if rng.random() < 0.3:
        values[rng.integers(0, len(values))] = NUMBERS[rng.integers(0, len(NUMBERS))]
    offset = int(rng.integers(0, SIZE // 2))
    if rng.random() < 0.3:
        end = span(_rect(values))[1]
        offset = max(SIZE - end + int(rng.integers(-1, 2)), 0)
    if rng.random() < 0.1:
        offset = HUGE - int(rng.integers(0, 3))
    return _rect(values, offset)


def _fits(rect: Rect) -> bool:
    bpp = rect.bytes_per_pixel
    if not 1 <= bpp <= 4 or not rect.width or not rect.height:
        return False
    return (rect.x + rect.width) * bpp <= rect.pitch and span(rect)[1] <= SIZE


def _fields(prefix: str, rect: Rect) -> dict[str, int]:
    return {f"{prefix}__{name}": value for name, value in vars(rect).items()}


def test_random_rectangles(blitter: Blitter, buf: int) -> None:
    """The engine and Python's unbounded integers agree on what is in the buffer."""
    rng = np.random.default_rng(30)
    good = 0
    for _ in range(300):
        rect = _random_rect(rng)
        error = submit(blitter, [{"op": lib.VBLIT_OP_FILL, **_fields("dst", rect)}], dst_fd=buf)
        assert error == (0 if _fits(rect) else errno.EINVAL), rect
        good += not error
    assert 60 < good < 240


def test_random_overlaps(blitter: Blitter, buf: int) -> None:
    """Rectangles of one buffer, often of one picture: those that share a byte are refused."""
    rng = np.random.default_rng(31)
    seen = {True: 0, False: 0}
    while min(seen.values()) < 40:
        bpp = int(rng.integers(1, 5))
        width, height = (int(rng.integers(1, limit)) for limit in (12, 12))
        pitch = 24 * bpp + int(rng.integers(0, 9))
        src, dst = (
            Rect(int(x), int(y), width, height, pitch, bpp, offset=5)
            for x, y in rng.integers(0, 13, (2, 2))
        )
        meet = np.intersect1d(rows(src), rows(dst)).size > 0
        op = {"op": lib.VBLIT_OP_BLIT, "src_fd": buf, **_fields("src", src), **_fields("dst", dst)}
        assert submit(blitter, [op], dst_fd=buf) == (errno.EINVAL if meet else 0), (src, dst)
        seen[meet] += 1


def test_overlap_in_one_buffer(blitter: Blitter, buf: int) -> None:
    near = {**COPY, "src_fd": buf, "dst__offset": 99}
    _refused(blitter, [near], errno.EINVAL, dst_fd=buf)
    assert submit(blitter, [{**near, "dst__offset": 100}], dst_fd=buf) == 0
    again = os.dup(buf)
    _refused(blitter, [{**near, "src_fd": again}], errno.EINVAL, dst_fd=buf)
    os.close(again)


def test_bad_submit(blitter: Blitter, buf: int) -> None:
    _refused(blitter, [], errno.EINVAL, dst_fd=buf)
    _refused(blitter, [GOOD] * 257, errno.EMSGSIZE, dst_fd=buf)
    _refused(blitter, [GOOD], errno.EMSGSIZE, dst_fd=buf, num_ops=BIG)
    assert submit(blitter, [GOOD] * 256, dst_fd=buf) == 0
    for bit in range(2, 32):
        _refused(blitter, [GOOD], errno.EINVAL, dst_fd=buf, flags=1 << bit)
    for fd in (-1, 999999):
        _refused(blitter, [GOOD], errno.EBADF, dst_fd=fd)


def test_other_files(blitter: Blitter, buf: int) -> None:
    with tempfile.TemporaryFile() as file, Sync("other") as sync:
        for fd in (file.fileno(), sync.fileno(), blitter.fileno()):
            _refused(blitter, [GOOD], errno.EINVAL, dst_fd=fd)
            _refused(blitter, [{**COPY, "src_fd": fd}], errno.EINVAL, dst_fd=buf)


def test_read_only_buffer(blitter: Blitter, buf: int) -> None:
    """Good as a source, not as a destination."""
    fd = allocate_readonly(SIZE)
    _refused(blitter, [GOOD], errno.EBADF, dst_fd=fd)
    assert submit(blitter, [{**COPY, "src_fd": fd}], dst_fd=buf) == 0
    os.close(fd)


def test_bad_pointers(blitter: Blitter, buf: int) -> None:
    for address in (0, 1, 1 << 47, 1 << 63, HUGE - 100):
        _refused(blitter, [GOOD], errno.EFAULT, dst_fd=buf, ops=address)
        for number in (lib.VBLIT_IOC_SUBMIT, lib.VBLIT_IOC_QUERY):
            pointer = ctypes.c_ulong(address)
            assert LIBC.ioctl(blitter.fileno(), ctypes.c_ulong(number), pointer) == -1
            assert ctypes.get_errno() == errno.EFAULT


def test_operations_that_end_in_nowhere(blitter: Blitter, buf: int) -> None:
    """The array runs into a page that is not there."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert LIBC.munmap(ctypes.c_void_p(address + page), ctypes.c_size_t(page)) == 0
    size = ffi.sizeof("struct vblit_op")
    op = ffi.new("struct vblit_op *")
    op.src_fd = -1
    op.dst.pitch, op.dst.bytes_per_pixel, op.dst.width, op.dst.height = 64, 4, 16, 8
    memory[page - size : page] = bytes(ffi.buffer(op))
    assert submit(blitter, [GOOD], dst_fd=buf, ops=address + page - size) == 0
    _refused(blitter, [GOOD, GOOD], errno.EFAULT, dst_fd=buf, ops=address + page - size)
    # munmap() of a hole is fine, so `memory` goes as usual.


def test_answer_that_cannot_be_written(blitter: Blitter, buf: int) -> None:
    """No job is left running that nobody knows of."""
    op = ffi.new("struct vblit_op *")
    op.src_fd = -1
    op.dst.pitch, op.dst.bytes_per_pixel, op.dst.width, op.dst.height = 64, 4, 16, 8
    request = ffi.new("struct vblit_submit *")
    request.ops = int(ffi.cast("uintptr_t", op))
    request.num_ops = 1
    request.dst_fd = buf
    with tempfile.TemporaryFile() as file:
        file.write(bytes(ffi.buffer(request)).ljust(mmap.PAGESIZE))
        file.flush()
        with mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ) as readonly:
            address = ctypes.c_ulong(np.frombuffer(readonly, np.uint8).ctypes.data)
            before = _state()
            number = ctypes.c_ulong(lib.VBLIT_IOC_SUBMIT)
            assert LIBC.ioctl(blitter.fileno(), number, address) == -1
            assert ctypes.get_errno() == errno.EFAULT
            assert _state() == before
    assert accesses(buf) == []


def test_no_descriptor_left(blitter: Blitter, buf: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (buf + 1, limits[1]))
    taken = []
    try:
        while True:
            taken.append(os.dup(blitter.fileno()))
    except OSError as error:
        assert error.errno == errno.EMFILE
        assert submit(blitter, [GOOD], dst_fd=buf) == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)
    assert accesses(buf) == []


def test_query(blitter: Blitter) -> None:
    info = blitter.info()
    assert info.abi_version == lib.VBLIT_ABI_VERSION
    assert info.max_ops == lib.VBLIT_MAX_OPS
    assert info.capabilities == 0b111 | lib.VBLIT_CAP_SCALE | lib.VBLIT_CAP_BLEND
    assert info.engines == 1
    for bit in (0, 31):
        query = ffi.new("struct vblit_query *")
        query.pad = 1 << bit
        assert lib.uapi_ioctl(blitter.fileno(), lib.VBLIT_IOC_QUERY, query) == -errno.EINVAL
        assert query.abi_version == 0


def test_unknown_ioctls(blitter: Blitter) -> None:
    for number in (0, 0x5401, lib.DMABUF_SYNC_IOC_QUERY, lib.VBLIT_IOC_SUBMIT + 1, BIG):
        with pytest.raises(OSError, match=rf"\[Errno {errno.ENOTTY}\]"):
            fcntl.ioctl(blitter.fileno(), number)


def test_blit_of_other_size_or_depth(blitter: Blitter, bufs: Callable[[int], list[int]]) -> None:
    src, dst = bufs(2)
    rect = Rect(0, 0, 10, 10, pitch=64)
    for other in (
        Rect(0, 0, 9, 10, pitch=64),
        Rect(0, 0, 10, 9, pitch=64),
        Rect(0, 0, 10, 10, pitch=64, bytes_per_pixel=2),
    ):
        with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
            blitter.submit(dst, [Blit(src, rect, other)])
