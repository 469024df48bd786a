# SPDX-License-Identifier: MIT
"""The library: fcntl locks in asyncio."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest
from other_process import Other

from dmabuf_sync import (
    Access,
    DmaBuf,
)


def test_lock_async(buf: DmaBuf, other: Other) -> None:
    async def main() -> None:
        async with buf.locked(Access.READ):
            assert other.run("buf.lock(WRITE, blocking=False)") == "BlockingIOError"
        assert other.run("buf.lock(WRITE)") == "ok"
        task = asyncio.create_task(buf.lock_async(Access.WRITE))
        await asyncio.sleep(0.2)
        assert not task.done()
        assert other.run("buf.unlock()") == "ok"
        await asyncio.wait_for(task, 10)
        assert other.run("buf.lock(WRITE, blocking=False)") == "BlockingIOError"

    asyncio.run(main())


@pytest.mark.parametrize("options", [{}, {"timeout": 30}, {"hold": 1}])
def test_cancelling_removes_the_request(
    buf: DmaBuf, spawn: Callable[..., Other], options: Any
) -> None:
    other, third = spawn(buf), spawn(buf)

    async def main() -> None:
        assert other.run("buf.lock(READ)") == "ok"
        task = asyncio.create_task(buf.lock_async(Access.WRITE, **options))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # A writer that still waited would hold this reader back.
        assert third.run("buf.lock(READ, blocking=False)") == "ok"

    asyncio.run(main())


def test_async_timeout(buf: DmaBuf, other: Other) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            await buf.lock_async(Access.WRITE, timeout=0.1)
        assert caught.value.errno == errno.ETIMEDOUT
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await buf.lock_async(Access.WRITE)

    assert other.run("buf.lock(WRITE)") == "ok"
    asyncio.run(main())
    assert other.run("buf.unlock()") == "ok"
    assert other.run("buf.lock(WRITE, blocking=False)") == "ok"
