# SPDX-License-Identifier: MIT
"""The library: waiting for fences, requests, grants and displays, in threads and in asyncio."""

import asyncio
import errno
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from buffers import available
from other_process import Other
from vgem import VgemBuffer

from dmabuf_sync import (
    Access,
    Blitter,
    Display,
    DisplayEventType,
    DmaBuf,
    Sync,
    SyncState,
)


@pytest.fixture
def foreign() -> Iterator[VgemBuffer]:
    """A buffer that another driver's fences are on."""
    if not available("vgem"):
        pytest.skip("this kernel has no vgem")
    made = VgemBuffer()
    yield made
    made.close()


@pytest.mark.parametrize(("write", "fine"), [(False, Access.READ), (True, None)])
def test_fences(foreign: VgemBuffer, write: bool, fine: Access | None) -> None:
    buffer = foreign.dmabuf
    fence = foreign.attach(write)
    for access in (Access.READ, Access.WRITE):
        if access is fine:
            buffer.wait(access, timeout=0)
            continue
        with pytest.raises(TimeoutError) as caught:
            buffer.wait(access, timeout=0.05)
        assert caught.value.errno == errno.ETIMEDOUT

    async def main() -> None:
        waiter = asyncio.create_task(buffer.wait_async(Access.WRITE))
        await asyncio.sleep(0.05)
        assert not waiter.done()
        foreign.signal(fence)
        await asyncio.wait_for(waiter, 10)

    asyncio.run(main())
    buffer.wait(Access.WRITE, timeout=0)


def test_in_fences_of_short_forms(foreign: VgemBuffer, buf: DmaBuf, blitter: Blitter) -> None:
    fence = foreign.attach(True)
    with (
        foreign.dmabuf.export_sync_file(Access.WRITE) as before,
        blitter.fill(buf, 0x01010101, in_fences=[before]) as job,
    ):
        with pytest.raises(TimeoutError):
            job.wait(timeout=0.05)
        foreign.signal(fence)
        job.wait(timeout=20)
    # Explicit synchronisation: somebody else's fence does not matter.
    fence = foreign.attach(True)
    with blitter.copy(foreign.dmabuf, buf, 4096, implicit=False) as job:
        job.wait(timeout=20)
    foreign.signal(fence)


def test_sync_requests(buf: DmaBuf, other: Other) -> None:
    async def main(sync: Sync) -> None:
        async def wait() -> None:
            await sync

        sync.request()
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0.05)
        assert not waiter.done()
        assert other.run("buf.unlock()") == "ok"
        await asyncio.wait_for(waiter, 10)
        await sync  # it is held
        sync.unlock()

    with Sync("asks") as sync:
        sync.add(buf, Access.WRITE)
        with pytest.raises(PermissionError):
            sync.wait(timeout=1)
        assert other.run("buf.lock(READ)") == "ok"
        sync.request()
        with pytest.raises(TimeoutError):
            sync.wait(timeout=0.05)
        assert sync.info().state is SyncState.WAITING
        sync.unlock()
        asyncio.run(main(sync))
        sync.request()
        sync.wait(timeout=10)
        assert other.run("buf.lock(READ, blocking=False)") == "BlockingIOError"


def test_grants(buf: DmaBuf, buf2: DmaBuf, blitter: Blitter, other: Other) -> None:
    async def main() -> None:
        assert other.run("buf.lock(READ)") == "ok"
        with blitter.copy(buf2, buf, wait=False) as job:
            granted = asyncio.create_task(job.wait_granted_async())
            await asyncio.sleep(0.05)
            assert not granted.done()
            assert other.run("buf.unlock()") == "ok"
            await asyncio.wait_for(granted, 10)
            assert job.granted
            await job

    asyncio.run(main())


def test_display_events(buf: DmaBuf) -> None:
    async def main() -> list[DisplayEventType]:
        with Display() as display:
            display.flip(buf, period_us=20_000)
            seen: list[DisplayEventType] = []
            while DisplayEventType.FRAME not in seen:
                events = await asyncio.wait_for(display.events_async(), 10)
                seen += [event.type for event in events]
            return seen

    assert asyncio.run(main())[0] is DisplayEventType.FLIP


def _blocking_calls(buffer: DmaBuf) -> dict[str, Callable[[], Any]]:
    """Calls that wait while another process has locked the buffer for writing."""

    def lock() -> None:
        with Sync("waits") as sync:
            sync.add(buffer, Access.READ)
            sync.lock()

    def timed_lock() -> None:
        with Sync("waits") as sync:
            sync.add(buffer, Access.READ)
            sync.lock(timeout=30)

    def wait() -> None:
        with Sync("waits") as sync:
            sync.add(buffer, Access.READ)
            sync.request()
            sync.wait(timeout=30)

    def fill() -> None:
        with Blitter() as blitter:
            blitter.fill(buffer, 1)

    def flip() -> None:
        with Display() as display:
            display.flip(buffer)

    return {call.__name__: call for call in (lock, timed_lock, wait, fill, flip)}


@pytest.mark.parametrize("name", ["lock", "timed_lock", "wait", "fill", "flip"])
def test_ctrl_c_and_other_threads_get_through(buf: DmaBuf, other: Other, name: str) -> None:
    assert other.run("buf.lock(WRITE, hold=60)") == "ok"
    # A thread of ours: that it runs at all shows that the call has released the GIL.
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        _blocking_calls(buf)[name]()
    timer.join()
    assert other.run("buf.unlock()") == "ok"
    assert other.run("buf.lock(WRITE, timeout=10)") == "ok", "the request was left behind"


def test_tasks_of_all_kinds_are_cancelled(buf: DmaBuf, other: Other) -> None:
    async def main() -> None:
        assert other.run("buf.lock(WRITE, hold=60)") == "ok"
        with Sync("one") as sync, Blitter() as blitter:
            sync.add(buf, Access.WRITE)
            with blitter.fill(buf, 1, wait=False) as job:
                waits: list[Awaitable[Any]] = [
                    buf.lock_async(Access.READ),
                    sync.lock_async(),
                    job.wait_granted_async(),
                    _all(job),
                ]
                tasks = [asyncio.ensure_future(wait) for wait in waits]
                await asyncio.sleep(0.1)
                assert not any(task.done() for task in tasks)
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
                assert sync.info().state is SyncState.IDLE
                assert other.run("buf.unlock()") == "ok"
                await job

    asyncio.run(main())
    assert other.run("buf.lock(WRITE, blocking=False)") == "ok"


async def _all(job: Any) -> None:
    await job
