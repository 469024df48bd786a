# SPDX-License-Identifier: MIT
"""Jobs of the DMA engine: when they are granted and done, in which order, who takes them back."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
from collections.abc import Callable

import numpy as np
import pytest
from actors import Actor, until
from blits import PATIENCE, SOFT, Device, noise, on_both, read, submit, write
from locks import READ, WRITE, lock, unlock
from state import accesses, open_files

from dmabuf_sync import Access, Blitter, DmaBuf, Job, JobFailed, JobState
from dmabuf_sync._uapi import lib

Actors = Callable[[int], list[Actor]]
Make = Callable[[int], list[DmaBuf]]
SetParameter = Callable[[str, int], None]

FILL = {
    "op": lib.VBLIT_OP_FILL,
    "color": 0x5A5A5A5A,
    "dst__pitch": 8192,
    "dst__bytes_per_pixel": 4,
    "dst__width": 2048,
    "dst__height": 1,
}


def _kinds(fd: int) -> list[str]:
    return [access.kind for access in accesses(fd)]


def _events(file: Job | DmaBuf) -> int:
    """What poll() says now."""
    poll = select.poll()
    poll.register(file, select.POLLIN | select.POLLOUT)
    return sum(events for _, events in poll.poll(0))


def _submit(path: str, fd: int) -> int:
    """For actors: a job on `fd`, submitted and granted; returns 0 or the errno."""
    with Blitter(path) as blitter:
        gc.collect()
        before = open_files()
        error = submit(blitter, [FILL], dst_fd=fd)
        assert open_files() <= before
        return error


def _until_queued(fd: int, pid: int) -> None:
    until(lambda: pid in [access.pid for access in accesses(fd)], "queueing a job")


def _handle_signal(restart: bool) -> None:
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.siginterrupt(signal.SIGUSR1, not restart)


@on_both
def test_poll_tells_granted_and_done(
    device: Device, dst: DmaBuf, blitter: Blitter, set_vblit: SetParameter
) -> None:
    dst.lock(Access.WRITE)
    job = blitter.fill(dst, 1, wait=False)
    assert _events(job) == 0
    info = job.info()
    assert info.state is JobState.QUEUED
    assert info.queued_ns > 0
    assert (info.granted_ns, info.started_ns, info.done_ns) == (0, 0, 0)
    set_vblit("bytes_per_second", device.size)
    dst.unlock()
    job.wait_granted(PATIENCE)
    assert _events(job) == select.POLLOUT
    assert job.info().done_ns == 0
    set_vblit("bytes_per_second", 0)
    job.wait(PATIENCE)
    assert _events(job) == select.POLLIN | select.POLLOUT
    info = job.info()
    assert info.queued_ns < info.granted_ns <= info.started_ns < info.done_ns
    assert info.status == 0


@on_both
def test_fence_of_a_running_job(
    device: Device, make: Make, blitter: Blitter, set_vblit: SetParameter
) -> None:
    """poll() on a dma-buf: readable without writers, writable without anybody."""
    src, dst = make(2)
    set_vblit("bytes_per_second", device.size)
    job = blitter.copy(src, dst)
    assert _events(src) == select.POLLIN
    assert _events(dst) == 0
    job.wait(PATIENCE)
    for buffer in (src, dst):
        assert _events(buffer) == select.POLLIN | select.POLLOUT


def test_cpu_lock_holds_the_job_back(blitter: Blitter, dst: DmaBuf) -> None:
    dst.lock(Access.WRITE)
    job = blitter.fill(dst, 1, wait=False)
    assert _kinds(dst.fileno()) == ["posix", "job"]
    assert not job.granted
    dst.unlock()
    job.wait(PATIENCE)
    assert job.done


def test_readers_share(bufs: Callable[[int], list[int]], blitter: Blitter, actors: Actors) -> None:
    """A CPU that reads the source keeps nobody back; one that reads the destination does."""
    src, dst = bufs(2)
    (reader,) = actors(1)
    reader.call(lock, src, READ)
    blitter.copy(src, dst).wait(PATIENCE)
    reader.call(lock, dst, READ)
    job = blitter.copy(src, dst, wait=False)
    assert not job.granted
    reader.call(unlock, dst)
    job.wait(PATIENCE)
    reader.call(unlock, src)


def test_order_on_one_buffer(device: Device, dst: DmaBuf, blitter: Blitter) -> None:
    """Of several files; all are queued before the first runs."""
    with Blitter(device.path) as other:
        dst.lock(Access.WRITE)
        jobs = [
            (other if number % 2 else blitter).fill(dst, number * 0x01010101, wait=False)
            for number in range(1, 25 if device is SOFT else 7)
        ]
        dst.unlock()
        for job in jobs:
            job.wait(PATIENCE)
        started = [job.info().started_ns for job in jobs]
        assert started == sorted(started)
        assert (read(dst) == len(jobs)).all()


def test_writer_waits_for_reading_jobs(
    device: Device, make: Make, blitter: Blitter, set_vblit: SetParameter
) -> None:
    """A job that writes what a slow one still reads."""
    src, dst = make(2)
    data = noise(20, device.size)
    write(src, data)
    set_vblit("bytes_per_second", 4 * device.size)
    first = blitter.copy(src, dst)
    second = blitter.fill(src, 0, wait=False)
    second.wait(PATIENCE)
    assert np.array_equal(read(dst), data)
    assert not read(src).any()
    assert first.info().started_ns < second.info().started_ns


def test_submit_returns_once_granted(device: Device, buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    lock(buf, WRITE)
    other.start(_submit, device.path, buf)
    _until_queued(buf, other.pid)
    assert other.running()
    unlock(buf)
    assert other.result() == 0
    lock(buf, READ)  # waits for the job
    assert (read(buf, 8192) == 0x5A).all()


def test_signal_takes_the_job_back(device: Device, buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    other.call(_handle_signal, restart=False)
    lock(buf, WRITE)
    other.start(_submit, device.path, buf)
    _until_queued(buf, other.pid)
    other.send_signal(signal.SIGUSR1)
    assert other.result() == errno.EINTR
    assert _kinds(buf) == ["posix"]
    unlock(buf)
    assert not read(buf).any()


def test_signal_restarts_the_call(device: Device, buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    other.call(_handle_signal, restart=True)
    lock(buf, WRITE)
    other.start(_submit, device.path, buf)
    for _ in range(3):
        _until_queued(buf, other.pid)
        other.send_signal(signal.SIGUSR1)
    unlock(buf)
    assert other.result() == 0


def test_killed_submitter_leaves_nothing(device: Device, buf: int, actors: Actors) -> None:
    first, second = actors(2)
    lock(buf, WRITE)
    for actor in (first, second):
        actor.start(_submit, device.path, buf)
        _until_queued(buf, actor.pid)
    first.kill()
    until(lambda: _kinds(buf) == ["posix", "job"], "leaving of a killed submitter")
    unlock(buf)
    assert second.result() == 0


def _queue_and_stay(path: str, slow: int, held: int) -> None:
    blitter = Blitter(path)
    blitter.fill(slow, 0x11111111)
    blitter.fill(held, 0x22222222, wait=False)
    signal.pause()


@on_both
def test_killed_owner_of_a_running_job(
    device: Device, bufs: Callable[[int], list[int]], actors: Actors, set_vblit: SetParameter
) -> None:
    """What is granted runs to its end, what is not is taken back."""
    slow, held = bufs(2)
    (owner,) = actors(1)
    set_vblit("bytes_per_second", device.size // 8)
    lock(held, WRITE)
    owner.start(_queue_and_stay, device.path, slow, held)
    until(lambda: "job" in _kinds(slow) and "job" in _kinds(held), "queueing jobs")
    owner.kill()
    until(lambda: _kinds(held) == ["posix"], "leaving of a killed owner")
    assert _kinds(slow) == ["job"]
    set_vblit("bytes_per_second", 0)
    unlock(held)
    assert (read(slow) == 0x11).all()
    assert not read(held).any()


def test_closing_the_device_takes_back_what_was_not_granted(device: Device, buf: int) -> None:
    lock(buf, WRITE)
    blitter = Blitter(device.path)
    jobs = [blitter.fill(buf, 1, wait=False) for _ in range(3)]
    blitter.close()
    for job in jobs:
        with pytest.raises(JobFailed) as caught:
            job.wait(PATIENCE)
        assert caught.value.errno == errno.ECANCELED
        assert _events(job) == select.POLLIN | select.POLLOUT | select.POLLERR
        with pytest.raises(OSError, match=rf"\[Errno {errno.ECANCELED}\]"):
            job.sync_file()
        assert job.info().granted_ns == 0
    assert _kinds(buf) == ["posix"]
    unlock(buf)


def test_closing_the_device_leaves_what_was_granted(
    device: Device, dst: DmaBuf, set_vblit: SetParameter
) -> None:
    set_vblit("bytes_per_second", 4 * device.size)
    with Blitter(device.path) as blitter:
        jobs = [blitter.fill(dst, color) for color in (0x11111111, 0x22222222)]
    for job in jobs:
        job.wait(PATIENCE)
    assert (read(dst) == 0x22).all()


def test_closing_the_job_leaves_it(blitter: Blitter, dst: DmaBuf) -> None:
    dst.lock(Access.WRITE)
    blitter.fill(dst, 0x77777777, wait=False).close()
    dst.unlock()
    assert (read(dst) == 0x77).all()


def _copy_many(path: str, src: int, dst: int, count: int) -> None:
    with Blitter(path) as blitter:
        for _ in range(count):
            blitter.copy(src, dst, wait=False).close()
        blitter.copy(src, dst).wait(PATIENCE)


def test_abba(device: Device, bufs: Callable[[int], list[int]], actors: Actors) -> None:
    """Jobs from a to b and from b to a at once, and round a ring of three."""
    a, b, c = bufs(3)
    workers = actors(4)
    pairs = [(a, b), (b, a), (b, c), (c, a)]
    for actor, (src, dst) in zip(workers, pairs, strict=True):
        actor.start(_copy_many, device.path, src, dst, device.times)
    for actor in workers:
        actor.result(PATIENCE)


def _check_and_paint(_: Device, fd: int, rounds: int, color: int) -> int:
    """For actors: the buffer always has one colour; returns how often it had not."""
    torn = 0
    with DmaBuf(os.dup(fd)) as buffer, buffer.map() as memory:
        pixels = np.frombuffer(memory, np.uint8)
        for _ in range(rounds):
            with buffer.locked(Access.WRITE):
                torn += int((pixels != pixels[0]).any())
                pixels[:] = color
        del pixels
    return torn


def _fill_many(device: Device, fd: int, rounds: int, color: int) -> int:
    with Blitter(device.path) as blitter:
        for _ in range(rounds):
            blitter.fill(fd, color * 0x01010101, wait=False).close()
        blitter.fill(fd, color, device.row(1)).wait(PATIENCE)
    return 0


@pytest.mark.coherency
def test_nobody_sees_half_a_job(device: Device, buf: int, actors: Actors) -> None:
    workers = actors(4)
    for color, actor in enumerate(workers):
        work = _fill_many if color % 2 else _check_and_paint
        actor.start(work, device, buf, device.times, color + 1)
    assert [actor.result(PATIENCE) for actor in workers] == [0] * 4
