# SPDX-License-Identifier: MIT
"""Locks that never wait: refused only for what somebody has, or is about to get (C2)."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator

import pytest
from actors import Actor
from locks import READ, WRITE, trylock, unlock
from vgem import VgemBuffer

from dmabuf_sync import Access, Blitter, Sync

Actors = Callable[[int], list[Actor]]
ROUNDS = 1500


@pytest.fixture
def read_by_another() -> Iterator[int]:
    """A buffer with a read fence of a driver that knows nothing of us: it can only be read."""
    buffer = VgemBuffer()
    fence = buffer.attach(False)
    yield buffer.fd
    buffer.signal(fence)
    buffer.close()


def _try_fcntl(fd: int, write: bool) -> int:
    refused = 0
    for _ in range(ROUNDS):
        try:
            trylock(fd, WRITE if write else READ)
            unlock(fd)
        except BlockingIOError:
            refused += 1
    return refused


def _try_set(fd: int, write: bool) -> int:
    refused = 0
    with Sync("try") as sync:
        sync.add(fd, Access.WRITE if write else Access.READ)
        for _ in range(ROUNDS):
            try:
                sync.lock(blocking=False)
                sync.unlock()
            except BlockingIOError:
                refused += 1
    return refused


@pytest.mark.parametrize("pound", [_try_fcntl, _try_set])
def test_who_fails_for_a_fence_is_in_nobodys_way(
    read_by_another: int, actors: Actors, pound: Callable[[int, bool], int]
) -> None:
    reader, writer = actors(2)
    writer.start(pound, read_by_another, True)
    assert reader.call(pound, read_by_another, False) == 0
    assert writer.result() == ROUNDS


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
