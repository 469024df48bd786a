# SPDX-License-Identifier: MIT
"""Locks that never wait: refused only for what somebody has, or is about to get (C2)."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest
from locks import READ, WRITE, trylock, unlock
from state import counters
from vgem import VgemBuffer

from dmabuf_sync import Access, Blitter, Sync


@pytest.fixture
def read_by_another() -> Iterator[int]:
    """A buffer with a read fence of a driver that knows nothing of us: it can only be read."""
    buffer = VgemBuffer()
    fence = buffer.attach(False)
    yield buffer.fd
    buffer.signal(fence)
    buffer.close()


def test_who_fails_for_a_fence_is_granted_nothing(read_by_another: int) -> None:
    """Not even for a moment, or others would be refused for it."""
    before = counters()
    with Sync("try") as sync:
        sync.add(read_by_another, Access.WRITE)
        for attempt in (lambda: trylock(read_by_another, WRITE), lambda: sync.lock(blocking=False)):
            with pytest.raises(BlockingIOError):
                attempt()
    after = counters()
    assert after["requests"] == before["requests"] + 2
    assert after["grants"] == before["grants"]
    trylock(read_by_another, READ)
    unlock(read_by_another)


def test_job_that_has_ended_is_in_nobodys_way(buf: int) -> None:
    """Its fence tells that the DMA is over: what is left to do takes no longer than a try may."""
    with Blitter() as blitter, Sync("try") as sync:
        sync.add(buf, Access.READ)
        for value in range(60):
            with blitter.fill(buf, value) as job:
                assert select.select([buf], [], [], 20)[0]
                if value % 2:
                    trylock(buf, READ)
                    unlock(buf)
                else:
                    sync.lock(blocking=False)
                    sync.unlock()
                job.wait(20)
