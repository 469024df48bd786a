# SPDX-License-Identifier: MIT
"""The library: DMA jobs and fences."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest
from other_process import PAGE, SIZE

from dmabuf_sync import (
    Access,
    Blit,
    Blitter,
    Copy,
    DmaBuf,
    Exporter,
    Fill,
    JobFailed,
    JobState,
    Operation,
    Rect,
)


@pytest.mark.coherency
def test_fill_copy_blit(buf: DmaBuf, buf2: DmaBuf, blitter: Blitter) -> None:
    with blitter.fill(buf, 0x04030201) as job:
        job.wait(timeout=10)
        assert job.done
        assert job.status == 0
    with buf.locked(Access.READ), buf.map(Access.READ) as m:
        assert bytes(m) == b"\x01\x02\x03\x04" * (SIZE // 4)
    with buf.locked(Access.WRITE), buf.map() as m:
        m[:] = bytes(range(256)) * (SIZE // 256)
    with blitter.copy(buf, buf2) as job:
        job.wait(timeout=10)
    with buf2.locked(Access.READ), buf2.map(Access.READ) as m:
        assert bytes(m) == bytes(range(256)) * (SIZE // 256)
    rect = Rect(x=2, y=1, width=3, height=2, pitch=64)
    ops: list[Operation] = [
        Fill(Rect(0, 0, SIZE, 1, SIZE, 1), 0),
        Blit(buf, rect, Rect(x=0, y=0, width=3, height=2, pitch=16)),
        Copy(buf, length=8, src_offset=8, dst_offset=SIZE - 8),
    ]
    with blitter.submit(buf2, ops) as job:
        job.wait(timeout=10)
    with buf2.locked(Access.READ), buf2.map(Access.READ) as m:
        assert bytes(m[0:12]) == bytes(range(72, 84))
        assert bytes(m[16:28]) == bytes(range(136, 148))
        assert bytes(m[12:16]) == bytes(4)
        assert bytes(m[SIZE - 8 :]) == bytes(range(8, 16))


def test_a_job_waits_for_a_lock(buf: DmaBuf, buf2: DmaBuf, blitter: Blitter) -> None:
    with buf2.locked(Access.WRITE):
        job = blitter.copy(buf, buf2, wait=False)
        assert not job.granted
        assert job.info().state is JobState.QUEUED
        with pytest.raises(BlockingIOError):
            job.sync_file()
        with pytest.raises(TimeoutError):
            job.wait(timeout=0.05)
        with pytest.raises(TimeoutError):
            job.wait_granted(timeout=0.05)
    with job:
        job.wait_granted(timeout=10)
        assert job.granted
        with job.sync_file() as fence:
            fence.wait(timeout=10)
        job.wait(timeout=10)
        info = job.info()
        assert info.state is JobState.DONE
        assert 0 < info.queued_ns < info.granted_ns <= info.started_ns <= info.done_ns


def test_sync_file(buf: DmaBuf, buf2: DmaBuf, blitter: Blitter) -> None:
    with (
        blitter.fill(buf, 1) as first,
        blitter.fill(buf2, 2) as second,
        first.sync_file() as one,
        second.sync_file() as two,
        one.merge(two, "both") as both,
    ):
        both.wait(timeout=10)
        info = both.info()
        assert info.name == "both"
        assert info.status == 1
        for fence in info.fences:
            assert fence.status == 1
        single = one.info().fences
        assert len(single) == 1
        assert single[0].driver
        assert single[0].timestamp_ns > 0
        with pytest.raises(OSError, match="merge") as caught:
            one.merge(buf)
        assert caught.value.errno == errno.ENOENT


def test_await_a_job(buf: DmaBuf, buf2: DmaBuf, blitter: Blitter) -> None:
    async def main() -> None:
        async with buf2.locked(Access.WRITE):
            job = blitter.copy(buf, buf2, wait=False)
            waiters = [asyncio.ensure_future(_await(job)) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert not any(waiter.done() for waiter in waiters)
        await asyncio.wait_for(asyncio.gather(*waiters), 10)
        with job.sync_file() as fence:
            await fence
        job.close()

    asyncio.run(main())


async def _await(awaitable: Any) -> None:
    await awaitable


def test_closing_the_blitter_takes_back_what_waits(buf: DmaBuf, buf2: DmaBuf) -> None:
    blitter = Blitter()
    with blitter.fill(buf2, 1) as granted, buf.locked(Access.WRITE):
        with blitter.copy(buf, buf2, wait=False) as waiting:
            assert not waiting.granted
            blitter.close()
            with pytest.raises(JobFailed) as caught:
                waiting.wait(20)
            assert caught.value.errno == errno.ECANCELED
        granted.wait(20)


def test_bad_jobs(buf: DmaBuf, buf2: DmaBuf, exporter: Exporter, blitter: Blitter) -> None:
    info = blitter.info()
    good = Rect(0, 0, 16, 16, 64)
    cases: list[tuple[int, Callable[[], Any]]] = [
        (errno.EINVAL, lambda: blitter.copy(buf, buf2, SIZE + 1)),
        (errno.EINVAL, lambda: blitter.copy(buf, buf2, 0)),
        (errno.EINVAL, lambda: blitter.copy(buf, buf, 64, dst_offset=32)),
        (errno.EINVAL, lambda: blitter.fill(buf, 0, Rect(0, 0, 0, 1, 64))),
        (errno.EINVAL, lambda: blitter.fill(buf, 0, Rect(0, 0, 17, 1, 64))),
        (errno.EINVAL, lambda: blitter.fill(buf, 0, Rect(0, SIZE // 64, 16, 1, 64))),
        (errno.EINVAL, lambda: blitter.blit(buf, buf2, good, Rect(0, 0, 15, 16, 64))),
        (errno.EINVAL, lambda: blitter.submit(buf, [])),
        (errno.EMSGSIZE, lambda: blitter.submit(buf, [Fill(good, 0)] * (info.max_ops + 1))),
    ]
    for number, call in cases:
        with pytest.raises(OSError, match="submit a job") as caught:
            call()
        assert caught.value.errno == number
    with exporter.allocate(PAGE, writable=False) as reader, pytest.raises(OSError, match="submit"):
        blitter.fill(reader, 0)
    with pytest.raises(ValueError, match="color must be"):
        blitter.fill(buf, 2**32)
    nonsense: list[Any] = ["fill"]
    with pytest.raises(TypeError, match="an operation must be"):
        blitter.submit(buf, nonsense)
