# SPDX-License-Identifier: MIT
"""Another driver that always has a fence on the buffer starves nobody (C5)."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from locks import WRITE, lock, trylock, unlock
from state import accesses
from vgem import VgemBuffer

from dmabuf_sync import Access, Blitter, DmaBuf, Sync, SyncFile

Actors = Callable[[int], list[Actor]]


@pytest.fixture
def vgem() -> Iterator[VgemBuffer]:
    buffer = VgemBuffer()
    yield buffer
    buffer.close()


# For the neighbour, who knows what was here when it was made.
_shared: list[VgemBuffer] = []


def _keep_busy(said: int, stop: int, target: int | None) -> int:
    """Fence after fence, the next one there before the last is done; returns how many.

    On vgem's buffer, and on the `target`, by DMA_BUF_IOCTL_IMPORT_SYNC_FILE.
    """
    vgem = _shared[-1]
    other = None if target is None else DmaBuf(os.dup(target))
    count, last = 0, None
    while not select.select([stop], [], [], 0)[0]:
        fence = None
        with contextlib.suppress(OSError):  # EBUSY while a job's fence is there
            fence = vgem.attach(write=False)
        if other is not None:
            with vgem.dmabuf.export_sync_file(Access.WRITE) as sync_file:
                other.import_sync_file(sync_file, Access.WRITE)
        if last is not None:
            vgem.signal(last)
        last = fence
        count += fence is not None
        if count == 10:
            os.write(said, b"x")
    if last is not None:
        vgem.signal(last)
    return count


@pytest.fixture(params=["driver", "sync_file"])
def busy(
    request: pytest.FixtureRequest, vgem: VgemBuffer, buf: int, actors: Actors
) -> Iterator[int]:
    """A buffer on which a process puts fences, until the test is over."""
    target = None if request.param == "driver" else buf
    (said, say), (stop, end) = os.pipe(), os.pipe()
    with contextlib.ExitStack() as pipes:
        for fd in (said, say, stop, end):
            pipes.callback(os.close, fd)
        _shared.append(vgem)
        pipes.callback(_shared.clear)
        (other,) = actors(1)
        other.start(_keep_busy, say, stop, target)
        assert select.select([said], [], [], 20)[0]
        yield vgem.fd if target is None else target
        assert other.running()
        os.write(end, b"x")
        assert other.result() > 10


def test_locks_and_jobs_get_through(busy: int) -> None:
    for _ in range(5):
        lock(busy, WRITE)
        unlock(busy)
        with Sync("beside") as sync:
            sync.add(busy, Access.WRITE)
            sync.lock(timeout=20)
            sync.unlock()
        with Blitter() as blitter, blitter.fill(busy, 1) as job:
            job.wait(20)


def test_imported_fences_as_well(vgem: VgemBuffer, buf: int) -> None:
    """sync_files put on the buffer after a lock was asked for do not hold it up."""
    fences = [vgem.attach(write=False) for _ in range(4)]
    with DmaBuf(os.dup(buf)) as other, Actor() as waiter:

        def put() -> SyncFile:
            return vgem.dmabuf.export_sync_file(Access.WRITE)

        with put() as sync_file:
            other.import_sync_file(sync_file, Access.WRITE)
        with pytest.raises(BlockingIOError):
            trylock(buf, WRITE)
        waiter.start(lock, buf, WRITE)
        until(lambda: any(a.state == "granting" for a in accesses(buf)))
        fences.append(vgem.attach(write=False))
        with put() as sync_file:
            other.import_sync_file(sync_file, Access.WRITE)
        for fence in fences[:-1]:
            vgem.signal(fence)
        waiter.result()  # the last one came later
        vgem.signal(fences[-1])
