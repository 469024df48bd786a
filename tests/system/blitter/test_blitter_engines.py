# SPDX-License-Identifier: MIT
"""Several engines in one device, and what can be set for each of them."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from actors import until
from blits import PATIENCE, SOFT, Device, noise, not_on_edu, on_both, read, write
from reload import insmod, rmmod

from dmabuf_sync import Blitter, DmaBuf, Job, JobFailed, JobState

Make = Callable[[int], list[DmaBuf]]
SetParameter = Callable[[str, int], None]
SetEngine = Callable[[int, str, object], None]

FOLDER = "/sys/class/misc/{}/device/engine{}/{}"

several = not_on_edu("it has one engine")


def attribute(engine: int, name: str, device: Device = SOFT) -> str:
    with open(FOLDER.format(device.name, engine, name)) as file:
        return file.read().strip()


def set_engine(engine: int, name: str, value: object, device: Device = SOFT) -> None:
    with open(FOLDER.format(device.name, engine, name), "wb", buffering=0) as file:
        file.write(f"{value}\n".encode())


@pytest.fixture
def three() -> Iterator[None]:
    """The module with three engines."""
    until(lambda: not rmmod(), "unloading")
    assert insmod("engines=3") == ""
    yield
    until(lambda: not rmmod(), "unloading")
    assert insmod() == ""


def _failure(job: Job) -> int | None:
    with pytest.raises(JobFailed) as caught:
        job.wait(PATIENCE)
    return caught.value.errno


def _overlap(first: Job, second: Job) -> bool:
    """Did both run at one time?"""
    one, two = first.info(), second.info()
    return one.started_ns < two.done_ns and two.started_ns < one.done_ns


@several
def test_jobs_on_different_buffers_run_at_once(
    three: None, blitter: Blitter, make: Make, set_vblit: SetParameter
) -> None:
    assert blitter.info().engines == 3
    set_vblit("bytes_per_second", 2 * SOFT.size)
    jobs = [blitter.fill(buffer, 1, wait=False) for buffer in make(3)]
    for job in jobs:
        job.wait(PATIENCE)
    assert all(_overlap(one, two) for one, two in itertools.combinations(jobs, 2))


@several
def test_jobs_on_one_buffer_keep_their_order(
    three: None, blitter: Blitter, make: Make, set_vblit: SetParameter
) -> None:
    """Also by way of other buffers: a chain of copies is as good as one after the other."""
    buffers = make(6)
    data = noise(40, SOFT.size)
    write(buffers[0], data)
    set_vblit("bytes_per_second", 20 * SOFT.size)
    jobs = [blitter.copy(a, b, wait=False) for a, b in itertools.pairwise(buffers)]
    for one, two in itertools.pairwise(jobs):
        two.wait(PATIENCE)
        assert one.info().started_ns < two.info().started_ns
    assert np.array_equal(read(buffers[-1]), data)


@several
@pytest.mark.coherency
def test_many_jobs_on_few_buffers(three: None, blitter: Blitter, make: Make) -> None:
    """As if there were one engine, whatever runs beside what."""
    rng = np.random.default_rng(41)
    half = SOFT.size // 2
    buffers = make(5)
    contents = [noise(50 + index, SOFT.size) for index in range(5)]
    for buffer, data in zip(buffers, contents, strict=True):
        write(buffer, data)
    jobs = []
    for _ in range(150):
        src, dst = (int(index) for index in rng.permutation(5)[:2])
        start, length = int(rng.integers(0, half)), int(rng.integers(1, half))
        jobs.append(
            blitter.copy(
                buffers[src], buffers[dst], length, src_offset=start, dst_offset=start, wait=False
            )
        )
        contents[dst][start : start + length] = contents[src][start : start + length]
    for job in jobs:
        job.wait(PATIENCE)
        job.close()
    for buffer, data in zip(buffers, contents, strict=True):
        assert np.array_equal(read(buffer), data)


@several
def test_one_hangs_and_the_others_go_on(
    three: None, blitter: Blitter, make: Make, set_parameter: SetParameter
) -> None:
    first, second = make(2)
    set_parameter("job_timeout_ms", 1500)
    set_engine(0, "fault", "hang")
    hung = blitter.fill(first, 0x01010101)
    until(lambda: hung.info().state is JobState.RUNNING, "a job to begin")
    set_parameter("job_timeout_ms", 10_000)
    for color in (0x02020202, 0x03030303):
        blitter.fill(second, color).wait(PATIENCE)
    assert not hung.done
    assert (read(second) == 3).all()
    assert _failure(hung) == errno.ETIMEDOUT
    assert not read(first).any()
    set_engine(0, "fault", "none")
    blitter.fill(first, 0x04040404).wait(PATIENCE)
    assert (read(first) == 4).all()


@several
def test_speed_is_each_engines_own(three: None, blitter: Blitter, make: Make) -> None:
    """The slow one takes the first job, the quick ones all others."""
    slow, *others = make(3)
    set_engine(0, "bytes_per_second", SOFT.size)
    job = blitter.fill(slow, 1)
    until(lambda: job.info().state is JobState.RUNNING, "a job to begin")
    for buffer in others:
        blitter.fill(buffer, 1).wait(PATIENCE)
    assert not job.done
    job.wait(PATIENCE)


def test_parameters_reach_all_engines(three: None, set_vblit: SetParameter) -> None:
    set_engine(1, "latency_us", 7)
    assert [attribute(index, "latency_us") for index in range(3)] == ["0", "7", "0"]
    for name, value, shown in (
        ("bytes_per_second", 1234, "1234"),
        ("latency_us", 9, "9"),
        ("fault", 3, "partial"),
    ):
        set_vblit(name, value)
        assert [attribute(index, name) for index in range(3)] == [shown] * 3


@on_both
def test_latency(blitter: Blitter, dst: DmaBuf, set_vblit: SetParameter) -> None:
    set_vblit("latency_us", 300_000)
    job = blitter.fill(dst, 1)
    job.wait(PATIENCE)
    info = job.info()
    assert info.done_ns - info.started_ns >= 300_000_000


def test_watchdog_does_not_wait_for_latency(
    blitter: Blitter, dst: DmaBuf, set_parameter: SetParameter, set_vblit: SetParameter
) -> None:
    set_parameter("job_timeout_ms", 50)
    set_vblit("latency_us", 3_000_000_000)
    assert _failure(blitter.fill(dst, 1)) == errno.ETIMEDOUT
    set_vblit("latency_us", 0)
    set_parameter("job_timeout_ms", 10_000)
    blitter.fill(dst, 1).wait(PATIENCE)


@on_both
def test_partial_write(
    device: Device, blitter: Blitter, make: Make, set_vblit: SetParameter
) -> None:
    """Half of it is written, the job fails, and so does its fence."""
    src, dst = make(2)
    half = device.size // 2
    write(src, np.full(device.size, 1, np.uint8))
    set_vblit("fault", 3)
    job = blitter.copy(src, dst)
    assert _failure(job) == errno.EIO
    with job.sync_file() as sync_file:
        assert sync_file.info().status == -errno.EIO
    seen = read(dst)
    assert (seen[:half] == 1).all()
    assert not seen[half:].any()
    set_vblit("fault", 0)
    blitter.copy(src, dst).wait(PATIENCE)
    assert (read(dst) == 1).all()


def test_spurious_interrupts_end_no_job(
    device: Device, blitter: Blitter, dst: DmaBuf, set_vblit: SetParameter
) -> None:
    def seen() -> int:
        return int(attribute(0, "spurious_interrupts", device))

    before = seen()
    set_vblit("fault", 4)
    set_vblit("bytes_per_second", device.size)
    job = blitter.fill(dst, 0x05050505)
    until(lambda: seen() > before + 1, "interrupts")
    assert not job.done
    job.wait(PATIENCE)
    assert (read(dst) == 5).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fault", "nonsense"),
        ("fault", ""),
        ("latency_us", "-1"),
        ("latency_us", str(1 << 32)),
        ("bytes_per_second", "x"),
    ],
)
@on_both
def test_bad_settings(device: Device, name: str, value: str) -> None:
    before = attribute(0, name, device)
    with pytest.raises(OSError) as caught:
        set_engine(0, name, value, device)
    assert caught.value.errno in (errno.EINVAL, errno.ERANGE)
    assert attribute(0, name, device) == before


def test_folders_go_with_the_module(three: None) -> None:
    assert os.path.exists(FOLDER.format("vblit", 2, "fault"))
    assert not os.path.exists(FOLDER.format("vblit", 3, "fault"))
