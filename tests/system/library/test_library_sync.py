# SPDX-License-Identifier: MIT
"""The library: sync objects."""

import asyncio
import errno
import select
import threading
import time
from collections.abc import Callable

import pytest
from other_process import SIZE, Other

from dmabuf_sync import (
    Access,
    DmaBuf,
    LockRevoked,
    Sync,
    SyncState,
)


def test_sync_excludes(buf: DmaBuf, buf2: DmaBuf, other: Other) -> None:
    with Sync("one") as one, Sync("two") as two:
        one.add(buf, Access.READ)
        one.add(buf2, Access.WRITE)
        two.add(buf2, Access.READ)
        assert one.info().buffers == 2
        with one.locked(timeout=1):
            assert one.info().state is SyncState.LOCKED
            with pytest.raises(BlockingIOError):
                two.lock(blocking=False)
            with pytest.raises(TimeoutError) as caught:
                two.lock(timeout=0.05)
            assert not isinstance(caught.value, LockRevoked)
            assert other.run("buf.lock(WRITE, blocking=False)") == "BlockingIOError"
            assert other.run("buf.lock(READ, blocking=False)") == "ok"
        two.lock(blocking=False)
        two.unlock()
        assert one.info().state is SyncState.IDLE


def test_sync_errors(buf: DmaBuf, buf2: DmaBuf) -> None:
    def fails(number: int, call: Callable[[], None]) -> None:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == number

    with Sync("errors") as sync:
        fails(errno.EINVAL, sync.lock)
        fails(errno.EPERM, sync.unlock)
        fails(errno.ENOENT, lambda: sync.remove(buf))
        fails(errno.EINVAL, lambda: sync.add(buf, Access.READ, offset=SIZE))
        fails(errno.EINVAL, lambda: sync.add(buf, Access.READ, length=SIZE + 1))
        with open("/dev/null") as null:
            fails(errno.EINVAL, lambda: sync.add(null, Access.READ))
        sync.add(buf, Access.READ)
        fails(errno.EEXIST, lambda: sync.add(buf, Access.WRITE))
        with sync.locked():
            fails(errno.EBUSY, sync.lock)
            fails(errno.EBUSY, lambda: sync.add(buf2, Access.READ))
            fails(errno.EBUSY, lambda: sync.remove(buf))
        sync.remove(buf)
        assert sync.info().buffers == 0
        fails(errno.EINVAL, lambda: Sync().lock(hold=10**6))
    with pytest.raises(ValueError, match="no timeout"):
        Sync().lock(timeout=1, blocking=False)


def test_sync_between_threads(buf: DmaBuf) -> None:
    inside: list[int] = []
    overlaps: list[int] = []

    def work(number: int) -> None:
        with Sync(f"thread {number}") as sync:
            sync.add(buf, Access.WRITE)
            for _ in range(50):
                with sync.locked(timeout=30):
                    inside.append(number)
                    if len(inside) != 1:
                        overlaps.append(number)
                    time.sleep(0.0002)
                    inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not overlaps


def test_sync_revoked(buf: DmaBuf) -> None:
    with Sync("slow") as slow, Sync("next") as following:
        slow.add(buf, Access.WRITE)
        following.add(buf, Access.WRITE)
        slow.lock(hold=0.05)
        following.lock(timeout=5)
        assert slow.info().revoked == 1
        with pytest.raises(LockRevoked):
            slow.unlock()
        following.unlock()
        slow.lock(hold=0.05)
        following.lock(timeout=5)
        with pytest.raises(LockRevoked):
            slow.lock(timeout=5)
        following.unlock()
        slow.lock(hold=0.05)
        following.lock(timeout=5)
        with pytest.raises(LockRevoked):
            slow.lock(timeout=0)
        following.unlock()
        with slow.locked():
            pass


def test_sync_request_and_poll(buf: DmaBuf) -> None:
    with Sync("first") as first, Sync("second") as second:
        first.add(buf, Access.WRITE)
        second.add(buf, Access.WRITE)
        first.lock()
        second.request()
        assert second.info().state is SyncState.WAITING
        assert not select.select([second], [], [], 0.05)[0]
        first.unlock()
        assert select.select([second], [], [], 5)[0]
        assert second.info().state is SyncState.LOCKED
        second.unlock()


def test_sync_async(buf: DmaBuf) -> None:
    order: list[int] = []

    async def work(number: int) -> None:
        with Sync(f"task {number}") as sync:
            sync.add(buf, Access.WRITE)
            async with sync.locked(timeout=30):
                order.append(number)
                await asyncio.sleep(0.01)
                order.append(number)

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(8)))
        assert order[::2] == order[1::2]
        with Sync("holder") as holder, Sync("waiter") as waiter:
            holder.add(buf, Access.WRITE)
            waiter.add(buf, Access.WRITE)
            async with holder.locked():
                task = asyncio.create_task(waiter.lock_async())
                await asyncio.sleep(0.1)
                assert waiter.info().state is SyncState.WAITING
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert waiter.info().state is SyncState.IDLE
                with pytest.raises(TimeoutError) as caught:
                    await waiter.lock_async(timeout=0.05)
                assert caught.value.errno == errno.ETIMEDOUT
            await waiter.lock_async(timeout=5)
            waiter.unlock()

    asyncio.run(main())
