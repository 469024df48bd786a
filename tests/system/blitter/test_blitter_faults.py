# SPDX-License-Identifier: MIT
"""The DMA engine when it is slow, hangs or fails, and its module parameters."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import select
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from blits import PARAMETERS, PATIENCE, SOFT, Device, not_on_edu, on_both, read
from buffers import BOUNCING

from dmabuf_sync import (
    Blit,
    Blitter,
    DmaBuf,
    Exporter,
    Fill,
    Job,
    JobFailed,
    JobState,
    Rect,
)

Make = Callable[[int], list[DmaBuf]]
SetParameter = Callable[[str, int], None]

HANG, FAIL = 1, 2
SMALL = Rect(0, 0, 256, 1, pitch=1024)


def _seconds(job: Job) -> float:
    """From start to end."""
    info = job.info()
    return (info.done_ns - info.started_ns) / 1e9


def _failure(job: Job) -> int:
    with pytest.raises(JobFailed) as caught:
        job.wait(PATIENCE)
    assert caught.value.errno is not None
    return caught.value.errno


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("operations", [1, 4])
def test_speed(
    device: Device,
    blitter: Blitter,
    dst: DmaBuf,
    set_vblit: SetParameter,
    rows: int,
    operations: int,
) -> None:
    """As slow as it is told, where the device itself is not slower."""
    seconds = 0.25 if device is SOFT else 3.0 * operations
    set_vblit("bytes_per_second", int(operations * device.size / seconds))
    pitch = device.size // rows
    rect = Rect(0, 0, pitch // 4, rows, pitch)
    with blitter.submit(dst, [Fill(rect, 1)] * operations) as job:
        job.wait(PATIENCE)
        assert seconds - 0.001 < _seconds(job) < 6 * seconds


@on_both
def test_stop_does_not_wait_for_a_slow_job(
    blitter: Blitter, dst: DmaBuf, set_parameter: SetParameter, set_vblit: SetParameter
) -> None:
    set_parameter("job_timeout_ms", 100)
    set_vblit("bytes_per_second", 1)
    job = blitter.fill(dst, 1)
    assert _failure(job) == errno.ETIMEDOUT
    assert 0.09 < _seconds(job) < 3
    set_vblit("bytes_per_second", 0)
    set_parameter("job_timeout_ms", 10_000)
    blitter.fill(dst, 0x02020202).wait(PATIENCE)
    assert (read(dst) == 2).all()


@pytest.fixture
def scattered() -> Iterator[DmaBuf]:
    """A large buffer, no two pages of which follow each other."""
    pages = (128 << 20) // mmap.PAGESIZE
    memfd = os.memfd_create("scattered", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, pages * mmap.PAGESIZE)
    for page in np.random.default_rng(80).permutation(pages):
        os.pwrite(memfd, b"1", int(page) * mmap.PAGESIZE)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with Exporter() as exporter, exporter.from_memfd(memfd) as made:
        os.close(memfd)
        yield made


@pytest.mark.slow
@not_on_edu("it would take hours")
@pytest.mark.skipif(BOUNCING, reason="there is not so much to bounce it")
def test_stop_does_not_wait_for_a_scattered_job(
    blitter: Blitter, dst: DmaBuf, scattered: DmaBuf, set_parameter: SetParameter
) -> None:
    """Few bytes, but each is looked for in a long list: pixels that lie on two pages."""
    set_parameter("job_timeout_ms", 100)
    rows = scattered.size // mmap.PAGESIZE - 1
    pixels = Rect(0, 0, 1, rows, mmap.PAGESIZE, offset=mmap.PAGESIZE - 2)
    blit = Blit(dst, Rect(0, 0, 1, 1, 4), pixels, scale=True, blend=True)
    job = blitter.submit(scattered, [blit])
    assert _failure(job) == errno.ETIMEDOUT
    assert 0.09 < _seconds(job) < 3


def test_long_jobs_do_not_time_out_behind_each_other(
    device: Device,
    blitter: Blitter,
    make: Make,
    set_parameter: SetParameter,
    set_vblit: SetParameter,
) -> None:
    """The watchdog counts from when the engine begins, not from when a job is next in line."""
    set_parameter("job_timeout_ms", 1000)
    set_vblit("bytes_per_second", 5 * 1024)
    jobs = [blitter.fill(buffer, 1, SMALL, wait=False) for buffer in make(8)]
    for job in jobs:
        job.wait(PATIENCE)
    infos = [job.info() for job in jobs]
    assert infos[-1].done_ns - infos[0].started_ns > 1e9


@on_both
def test_hang_is_ended_by_the_watchdog(
    blitter: Blitter, dst: DmaBuf, set_parameter: SetParameter, set_vblit: SetParameter
) -> None:
    set_parameter("job_timeout_ms", 50)
    set_vblit("fault", HANG)
    hung = blitter.fill(dst, 0x01010101, wait=False)
    behind = blitter.fill(dst, 0x01010101, wait=False)
    assert _failure(hung) == errno.ETIMEDOUT
    assert _failure(behind) == errno.ETIMEDOUT
    with hung.sync_file() as sync_file:
        assert sync_file.info().status == -errno.ETIMEDOUT
    assert not read(dst).any()
    set_vblit("fault", 0)
    set_parameter("job_timeout_ms", 10_000)
    blitter.fill(dst, 0x03030303).wait(PATIENCE)
    assert (read(dst) == 3).all()


def test_hang_keeps_its_buffers_only_until_then(
    blitter: Blitter, make: Make, set_parameter: SetParameter, set_vblit: SetParameter
) -> None:
    """A later job on another buffer runs when the engine is free again."""
    first, second = make(2)
    set_parameter("job_timeout_ms", 500)
    set_vblit("fault", HANG)
    hung = blitter.fill(first, 1)
    while hung.info().state is not JobState.RUNNING:
        time.sleep(0.01)
    time.sleep(0.1)
    set_vblit("fault", 0)
    set_parameter("job_timeout_ms", 10_000)
    other = blitter.fill(second, 0x04040404)
    assert other.granted
    assert not other.done
    assert _failure(hung) == errno.ETIMEDOUT
    other.wait(PATIENCE)
    assert (read(second) == 4).all()


@on_both
def test_error_is_the_jobs_error(blitter: Blitter, dst: DmaBuf, set_vblit: SetParameter) -> None:
    set_vblit("fault", FAIL)
    job = blitter.fill(dst, 0x01010101)
    assert _failure(job) == errno.EIO
    assert select.select([job], [job], [], 0)[:2] == ([job], [job])
    with job.sync_file() as sync_file:
        assert sync_file.info().status == -errno.EIO
    assert not read(dst).any()
    set_vblit("fault", 0)
    blitter.fill(dst, 0x05050505).wait(PATIENCE)
    assert (read(dst) == 5).all()


def test_watchdog_beside_the_end_of_a_job(
    device: Device,
    blitter: Blitter,
    make: Make,
    set_parameter: SetParameter,
    set_vblit: SetParameter,
) -> None:
    """Jobs end by themselves or are stopped, in every order; the engine survives."""
    buffers = make(8)
    set_parameter("job_timeout_ms", 1 if device is SOFT else 205)
    set_vblit("bytes_per_second", 16 * 1024)
    ended = set()
    for _ in range(min(12, device.times)):
        with contextlib.ExitStack() as stack:
            jobs = [
                stack.enter_context(blitter.fill(buffer, 0x06060606, SMALL, wait=False))
                for buffer in buffers * 2
            ]
            for job in jobs:
                select.select([job], [], [], PATIENCE)
                assert job.done
                ended.add(job.status)
        set_vblit("bytes_per_second", 1024 * 1024)
    assert ended <= {0, -errno.ETIMEDOUT}
    set_parameter("job_timeout_ms", 10_000)
    set_vblit("bytes_per_second", 0)
    for buffer in buffers:
        blitter.fill(buffer, 0x07070707, SMALL).wait(PATIENCE)
        assert (read(buffer, 1024) == 7).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fault", "-1"),
        ("fault", "5"),
        ("latency_us", "-1"),
        ("fault", "x"),
        ("fault", ""),
        ("fault", str(1 << 32)),
        ("bytes_per_second", "-1"),
        ("bytes_per_second", "x"),
        ("bytes_per_second", ""),
        ("bytes_per_second", str(1 << 64)),
    ],
)
def test_parameters_out_of_bounds(set_vblit: SetParameter, name: str, value: str) -> None:
    set_vblit(name, 2)
    path = os.path.join(PARAMETERS, name)
    with pytest.raises(OSError) as caught, open(path, "wb", buffering=0) as file:
        file.write(value.encode() + b"\n")
    assert caught.value.errno == errno.EINVAL
    with open(path) as parameter:
        assert parameter.read() == "2\n"
