# SPDX-License-Identifier: MIT
"""The DMA engine: right bytes on buffers of any exporter, bad input, order, faults."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from buffers import EXPORTERS, allocate, available
from locks import WRITE, lock, unlock
from state import accesses

from dmabuf_sync import Access, Blit, Blitter, Copy, DmaBuf, Fill, JobFailed, Rect
from dmabuf_sync._uapi import ffi, lib

SIZE = 65536
SetParameter = Callable[[str, int], None]
# Under swiotlb=force only exporters that keep bounce buffers in step can be right.
BOUNCING = "swiotlb=force" in open("/proc/cmdline").read()


@pytest.fixture
def blitter() -> Iterator[Blitter]:
    with Blitter() as made:
        yield made


@pytest.fixture(params=EXPORTERS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[DmaBuf, DmaBuf]]:
    """A source of one exporter and a destination of ours."""
    if not available(request.param):
        pytest.skip(f"this kernel has no {request.param}")
    if BOUNCING and request.param not in ("vdmabuf", "heap"):
        pytest.skip(f"{request.param} does not keep bounce buffers in step")
    src, dst = DmaBuf(allocate(request.param, SIZE)), DmaBuf(allocate("vdmabuf", SIZE))
    yield src, dst
    src.close()
    dst.close()


@pytest.fixture
def set_vblit() -> Iterator[Callable[[str, int], None]]:
    """set_vblit(parameter, value), until the test is over."""
    names = set()

    def change(name: str, value: int) -> None:
        names.add(name)
        with open(f"/sys/module/vblit/parameters/{name}", "w") as file:
            file.write(str(value))

    yield change
    for name in names:
        change(name, 0)


def write(buffer: DmaBuf, data: np.ndarray[Any, Any]) -> None:
    with buffer.locked(Access.WRITE), buffer.map(length=len(data)) as memory:
        np.frombuffer(memory, np.uint8)[:] = data


def read(buffer: DmaBuf, length: int = SIZE) -> np.ndarray[Any, Any]:
    with buffer.locked(Access.READ), buffer.map(Access.READ, length=length) as memory:
        return np.frombuffer(memory, np.uint8).copy()


def noise(seed: int, length: int = SIZE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, length, np.uint8)


@pytest.mark.coherency
def test_exporter_that_never_synchronises_is_named(blitter: Blitter, anybuf: int) -> None:
    with open(f"/proc/self/fdinfo/{anybuf}") as file:
        name = next(line.split()[1] for line in file if line.startswith("exp_name:"))
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.lseek(log, 0, os.SEEK_END)
    blitter.fill(anybuf, 1).wait(timeout=20)
    said = []
    with contextlib.suppress(BlockingIOError):
        while True:
            said.append(os.read(log, 8192).decode())
    os.close(log)
    warned = any("never synchronises" in line for line in said)
    assert warned == (BOUNCING and name not in ("vdmabuf", "system"))


@pytest.mark.coherency
def test_copy_from_any_exporter(blitter: Blitter, pair: tuple[DmaBuf, DmaBuf]) -> None:
    src, dst = pair
    data = noise(1)
    write(src, data)
    blitter.copy(src, dst, SIZE).wait(20)
    assert np.array_equal(read(dst), data)


@pytest.mark.coherency
def test_copy_to_any_exporter(blitter: Blitter, pair: tuple[DmaBuf, DmaBuf]) -> None:
    dst, src = pair
    data = noise(2)
    write(src, data)
    blitter.copy(src, dst, SIZE).wait(20)
    assert np.array_equal(read(dst), data)


@pytest.mark.coherency
@pytest.mark.parametrize(
    ("src_offset", "dst_offset", "length"),
    [(0, 0, 1), (1, 4095, 2), (4095, 1, 4098), (12345, 54321, 10001), (0, 1, SIZE - 1)],
)
def test_copy_parts(
    blitter: Blitter, pair: tuple[DmaBuf, DmaBuf], src_offset: int, dst_offset: int, length: int
) -> None:
    src, dst = pair
    data, expected = noise(3), noise(4)
    write(src, data)
    write(dst, expected)
    blitter.copy(src, dst, length, src_offset=src_offset, dst_offset=dst_offset).wait(20)
    expected[dst_offset : dst_offset + length] = data[src_offset : src_offset + length]
    assert np.array_equal(read(dst), expected)


@pytest.mark.coherency
@pytest.mark.parametrize("bpp", [1, 2, 3, 4])
def test_fill_rectangle(blitter: Blitter, bpp: int) -> None:
    with DmaBuf(allocate("vdmabuf", SIZE)) as dst:
        expected = noise(5)
        write(dst, expected)
        rect = Rect(7, 3, 41, 50, pitch=401, bytes_per_pixel=bpp, offset=77)
        blitter.fill(dst, 0x44332211, rect).wait(20)
        pixel = np.frombuffer(b"\x11\x22\x33\x44"[:bpp], np.uint8)
        for row in range(3, 53):
            start = 77 + row * 401 + 7 * bpp
            expected[start : start + 41 * bpp] = np.tile(pixel, 41)
        assert np.array_equal(read(dst), expected)


@pytest.mark.coherency
@pytest.mark.parametrize("bpp", [1, 2, 3, 4])
def test_blit_rectangle(blitter: Blitter, pair: tuple[DmaBuf, DmaBuf], bpp: int) -> None:
    src, dst = pair
    data, expected = noise(6), noise(7)
    write(src, data)
    write(dst, expected)
    source = Rect(5, 2, 60, 70, pitch=301, bytes_per_pixel=bpp, offset=13)
    target = Rect(1, 9, 60, 70, pitch=513, bytes_per_pixel=bpp, offset=1000)
    blitter.blit(src, dst, source, target).wait(20)
    for row in range(70):
        a = 13 + (2 + row) * 301 + 5 * bpp
        b = 1000 + (9 + row) * 513 + bpp
        expected[b : b + 60 * bpp] = data[a : a + 60 * bpp]
    assert np.array_equal(read(dst), expected)


@pytest.mark.coherency
def test_one_job_with_several_sources(blitter: Blitter) -> None:
    with (
        DmaBuf(allocate("vdmabuf", SIZE)) as one,
        DmaBuf(allocate("vdmabuf", SIZE)) as two,
        DmaBuf(allocate("vdmabuf", SIZE)) as dst,
    ):
        a, b = noise(8), noise(9)
        write(one, a)
        write(two, b)
        whole = Rect(0, 0, SIZE, 1, pitch=SIZE, bytes_per_pixel=1)
        job = blitter.submit(
            dst, [Fill(whole, 0xEE), Copy(one, 1000, 5, 100), Copy(two, 1000, 6, 600)]
        )
        job.wait(20)
        expected = np.full(SIZE, 0xEE, np.uint8)
        expected[100:1100] = a[5:1005]
        expected[600:1600] = b[6:1006]
        assert np.array_equal(read(dst), expected)


@pytest.mark.coherency
def test_jobs_in_a_row_see_each_other(blitter: Blitter, bufs: Callable[[int], list[int]]) -> None:
    """Queued behind a CPU lock together; each reads what the one before wrote."""
    buffers = [DmaBuf(fd) for fd in bufs(6)]
    data = noise(10)
    buffers[0].lock(Access.WRITE)
    jobs = [
        blitter.copy(a, b, SIZE, wait=False) for a, b in itertools.pairwise(buffers)
    ]
    with buffers[0].map() as memory:
        np.frombuffer(memory, np.uint8)[:] = data
    assert not jobs[0].granted
    buffers[0].unlock()
    for job in jobs:
        job.wait(20)
    for buffer in buffers:
        assert np.array_equal(read(buffer), data)
        buffer.close()


@pytest.mark.coherency
@pytest.mark.parametrize("exporter", ["vdmabuf", "heap"])
def test_cpu_and_dma_take_turns(blitter: Blitter, exporter: str) -> None:
    if not available(exporter):
        pytest.skip(f"this kernel has no {exporter}")
    with DmaBuf(allocate(exporter, SIZE)) as a, DmaBuf(allocate(exporter, SIZE)) as b:
        for turn in range(8):
            write(a, np.full(SIZE, turn, np.uint8))
            blitter.copy(a, b, SIZE, wait=False)
            assert (read(b) == turn).all()  # the lock waits for the job
            blitter.copy(b, a, SIZE // 2, dst_offset=SIZE // 2, wait=False)
            blitter.fill(a, 0xA0 + turn, Rect(0, 0, 100, 1, pitch=100, bytes_per_pixel=1))
            seen = read(a)
            assert (seen[:100] == 0xA0 + turn).all()
            assert (seen[100:] == turn).all()


def test_cpu_lock_holds_the_job_back(blitter: Blitter, buf: int) -> None:
    with DmaBuf(os.dup(buf)) as dst:
        dst.lock(Access.WRITE)
        job = blitter.fill(dst, 1, wait=False)
        assert [access.kind for access in accesses(buf)] == ["posix", "job"]
        assert not job.granted
        dst.unlock()
        job.wait(20)
        assert job.done


def test_closing_the_device_takes_back_what_was_not_granted(buf: int) -> None:
    lock(buf, WRITE)
    blitter = Blitter()
    job = blitter.fill(buf, 1, wait=False)
    blitter.close()
    with pytest.raises(JobFailed) as caught:
        job.wait(20)
    assert caught.value.errno == errno.ECANCELED
    assert [access.kind for access in accesses(buf)] == ["posix"]
    unlock(buf)


def test_closing_the_job_does_not(blitter: Blitter, buf: int) -> None:
    lock(buf, WRITE)
    blitter.fill(buf, 0x77777777, wait=False).close()
    unlock(buf)
    with DmaBuf(buf) as dst:
        assert (read(dst) == 0x77).all()


def test_hang_is_ended_by_the_watchdog(
    blitter: Blitter, buf: int, set_parameter: SetParameter, set_vblit: SetParameter
) -> None:
    set_parameter("job_timeout_ms", 50)
    set_vblit("fault", 1)
    hung = blitter.fill(buf, 1, wait=False)
    behind = blitter.fill(buf, 2, wait=False)
    with pytest.raises(JobFailed) as caught:
        hung.wait(20)
    assert caught.value.errno == errno.ETIMEDOUT
    with pytest.raises(JobFailed):
        behind.wait(20)
    set_vblit("fault", 0)
    blitter.fill(buf, 3).wait(20)


def test_error_is_the_jobs_error(blitter: Blitter, buf: int, set_vblit: SetParameter) -> None:
    set_vblit("fault", 2)
    job = blitter.fill(buf, 1)
    with pytest.raises(JobFailed) as caught:
        job.wait(20)
    assert caught.value.errno == errno.EIO
    with job.sync_file() as sync_file:
        assert sync_file.info().status == -errno.EIO


@pytest.mark.parametrize("value", ["-1", "3", "x"])
def test_fault_out_of_bounds(value: str) -> None:
    with (
        pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"),
        open("/sys/module/vblit/parameters/fault", "wb", buffering=0) as file,
    ):
        file.write(value.encode())


def _submit(blitter: Blitter, ops: list[Any], /, **fields: int) -> int:
    """SUBMIT as it is; returns 0 or the errno."""
    array = ffi.new("struct vblit_op[]", len(ops))
    for op, values in zip(array, ops, strict=True):
        op.src_fd = -1
        for name, value in values.items():
            target, _, field = name.rpartition("__")
            setattr(getattr(op, target) if target else op, field, value)
    request = ffi.new("struct vblit_submit *")
    request.ops = int(ffi.cast("uintptr_t", array))
    request.num_ops = len(ops)
    for name, value in fields.items():
        setattr(request, name, value)
    error = -int(lib.uapi_ioctl(blitter.fileno(), lib.VBLIT_IOC_SUBMIT, request))
    if not error:
        os.close(request.job_fd)
    return error


GOOD = {
    "op": lib.VBLIT_OP_FILL,
    "dst__pitch": 64,
    "dst__bytes_per_pixel": 4,
    "dst__width": 16,
    "dst__height": 8,
}
COPY = {"op": lib.VBLIT_OP_COPY, "length": 100}
BIG = 0xFFFFFFFF


@pytest.mark.parametrize(
    "changes",
    [
        {"op": 99},
        {"flags": 1},
        {"dst__width": 0},
        {"dst__height": 0},
        {"dst__width": 17},
        {"dst__x": 1},
        {"dst__bytes_per_pixel": 0},
        {"dst__bytes_per_pixel": 5},
        {"dst__pitch": 0},
        {"dst__height": 1025},
        {"dst__y": 1017},
        {"dst__offset": SIZE},
        {"dst__offset": (1 << 64) - 1},
        {"dst__x": BIG, "dst__pitch": BIG},
        {"dst__y": BIG, "dst__height": BIG, "dst__pitch": BIG},
        {"src_fd": 0},
        {"length": 1},
        {"src__x": 1},
    ],
)
def test_bad_fill(blitter: Blitter, buf: int, changes: dict[str, int]) -> None:
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    assert _submit(blitter, [GOOD], dst_fd=buf) == 0
    assert _submit(blitter, [GOOD, {**GOOD, **changes}], dst_fd=buf) == errno.EINVAL
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"length": 0}, errno.EINVAL),
        ({"length": SIZE + 1}, errno.EINVAL),
        ({"src__offset": (1 << 64) - 50}, errno.EINVAL),
        ({"dst__offset": SIZE - 99}, errno.EINVAL),
        ({"color": 1}, errno.EINVAL),
        ({"dst__width": 1}, errno.EINVAL),
        ({"src_fd": -1}, errno.EBADF),
        ({"src_fd": 999999}, errno.EBADF),
        ({"src__offset": 50}, 0),
    ],
)
def test_bad_copy(
    blitter: Blitter, bufs: Callable[[int], list[int]], changes: dict[str, int], number: int
) -> None:
    src, dst = bufs(2)
    assert _submit(blitter, [{**COPY, "src_fd": src, **changes}], dst_fd=dst) == number


def test_overlap_in_one_buffer(blitter: Blitter, buf: int) -> None:
    near = {**COPY, "src_fd": buf, "dst__offset": 99}
    assert _submit(blitter, [near], dst_fd=buf) == errno.EINVAL
    assert _submit(blitter, [{**near, "dst__offset": 100}], dst_fd=buf) == 0


def test_bad_submit(blitter: Blitter, buf: int) -> None:
    assert _submit(blitter, [], dst_fd=buf) == errno.EINVAL
    assert _submit(blitter, [GOOD] * 257, dst_fd=buf) == errno.EMSGSIZE
    assert _submit(blitter, [GOOD] * 256, dst_fd=buf) == 0
    assert _submit(blitter, [GOOD], dst_fd=buf, flags=2) == errno.EINVAL
    assert _submit(blitter, [GOOD], dst_fd=-1) == errno.EBADF
    assert _submit(blitter, [GOOD], dst_fd=blitter.fileno()) == errno.EINVAL
    assert _submit(blitter, [GOOD], dst_fd=buf, ops=1) == errno.EFAULT


def test_read_only_destination(blitter: Blitter) -> None:
    from buffers import allocate_readonly

    fd = allocate_readonly(SIZE)
    assert _submit(blitter, [GOOD], dst_fd=fd) == errno.EBADF
    os.close(fd)


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
