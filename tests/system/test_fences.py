# SPDX-License-Identifier: MIT
"""Foreign fences and ours (C5, C6)."""

from __future__ import annotations

import errno
import select
import signal
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses, until_waiting
from vgem import VgemBuffer

from dmabuf_sync import Access, Blitter, DmaBuf, Sync

Actors = Callable[[int], list[Actor]]


@pytest.fixture
def vgem() -> Iterator[VgemBuffer]:
    buffer = VgemBuffer()
    yield buffer
    buffer.close()


def _granting(actor: Actor, fd: int) -> Callable[[], bool]:
    return lambda: any(a.pid == actor.pid and a.state == "granting" for a in accesses(fd))


def test_write_fence_delays_everybody(vgem: VgemBuffer, actors: Actors) -> None:
    (other,) = actors(1)
    fence = vgem.attach(write=True)
    for kind in (READ, WRITE):
        with pytest.raises(BlockingIOError):
            trylock(vgem.fd, kind)
    assert accesses(vgem.fd) == []
    other.start(lock, vgem.fd, READ)
    until(_granting(other, vgem.fd))
    vgem.signal(fence)
    other.result()


def test_read_fence_delays_writers_only(vgem: VgemBuffer, actors: Actors) -> None:
    (other,) = actors(1)
    fence = vgem.attach(write=False)
    trylock(vgem.fd, READ)
    unlock(vgem.fd)
    other.start(lock, vgem.fd, WRITE)
    until(_granting(other, vgem.fd))
    vgem.signal(fence)
    other.result()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_sync_object_waits_for_fences(vgem: VgemBuffer, asynchronous: bool) -> None:
    with Sync("fenced") as sync:
        sync.add(vgem.fd, Access.READ)
        fence = vgem.attach(write=True)
        with pytest.raises(BlockingIOError):
            sync.lock(blocking=False)
        if asynchronous:
            sync.request()
            assert select.select([sync], [], [], 0) == ([], [], [])
            vgem.signal(fence)
            assert select.select([sync], [], [], 20)[0]
        else:
            with pytest.raises(TimeoutError):
                sync.lock(timeout=0.02)
            vgem.signal(fence)
            sync.lock(timeout=20)
        sync.unlock()


def test_asynchronous_lock_taken_back_while_a_fence_runs(vgem: VgemBuffer) -> None:
    with Sync("fenced") as sync:
        sync.add(vgem.fd, Access.WRITE)
        fence = vgem.attach(write=True)
        sync.request()
        until(lambda: any(a.state == "granting" for a in accesses(vgem.fd)))
        sync.unlock()
        assert accesses(vgem.fd) == []
        vgem.signal(fence)


def test_interrupted_while_a_fence_runs(vgem: VgemBuffer, actors: Actors) -> None:
    (other,) = actors(1)
    fence = vgem.attach(write=True)
    other.call(signal.signal, signal.SIGUSR1, signal.SIG_DFL)
    other.start(lock, vgem.fd, WRITE)
    until(_granting(other, vgem.fd))
    other.kill()
    until(lambda: not accesses(vgem.fd), "leaving of a killed waiter")
    vgem.signal(fence)


def test_cpu_holds_are_no_fences(vgem: VgemBuffer) -> None:
    lock(vgem.fd, WRITE)
    assert select.select([], [vgem.fd], [], 0)[1] == [vgem.fd]
    vgem.signal(vgem.attach(write=True))
    unlock(vgem.fd)


def _exported(vgem: VgemBuffer) -> int:
    """What DMA_BUF_IOCTL_EXPORT_SYNC_FILE has: 1 if nothing is pending, 0 if something is."""
    with vgem.dmabuf.export_sync_file(Access.WRITE) as sync_file:
        return sync_file.info().status


def test_waiting_job_is_no_fence_and_running_job_is_one(vgem: VgemBuffer) -> None:
    bandwidth = "/sys/module/vblit/parameters/bytes_per_second"
    with Blitter() as blitter:
        lock(vgem.fd, WRITE)
        job = blitter.fill(vgem.fd, 0x5A, wait=False)
        assert not job.granted
        with pytest.raises(BlockingIOError):
            job.sync_file()
        vgem.signal(vgem.attach(write=True))  # nobody in its way
        assert _exported(vgem) == 1
        with open(bandwidth, "r+") as file:
            file.write("100000")
        try:
            unlock(vgem.fd)
            job.wait_granted(20)
            with pytest.raises(OSError, match=rf"\[Errno {errno.EBUSY}\]"):
                vgem.attach(write=False)
            assert select.select([vgem.fd], [], [], 0)[0] == []
            assert _exported(vgem) == 0
            with job.sync_file() as sync_file:
                assert select.select([sync_file], [], [], 0)[0] == []
                job.wait(20)
                assert select.select([sync_file], [], [], 0)[0] != []
        finally:
            with open(bandwidth, "r+") as file:
                file.write("0")
        vgem.signal(vgem.attach(write=True))
        job.close()


def test_job_waits_for_foreign_fence_but_is_granted(vgem: VgemBuffer, buf: int) -> None:
    fence = vgem.attach(write=True)
    with Blitter() as blitter, blitter.fill(vgem.fd, 1, wait=True) as job:
        assert job.granted
        blitter.fill(buf, 1).wait(20)  # the engine has nothing else to do
        with pytest.raises(TimeoutError):
            job.wait(0.5)
        vgem.signal(fence)
        job.wait(20)


def test_imported_sync_file_delays(vgem: VgemBuffer, buf: int) -> None:
    fence = vgem.attach(write=True)
    with DmaBuf(buf) as other:
        with vgem.dmabuf.export_sync_file(Access.READ) as sync_file:
            other.import_sync_file(sync_file, Access.WRITE)
        with pytest.raises(BlockingIOError):
            trylock(buf, READ)
        vgem.signal(fence)
        trylock(buf, READ)


def test_holder_itself_never_waits_for_us(vgem: VgemBuffer, actors: Actors) -> None:
    (writer,) = actors(1)
    with Blitter() as blitter:
        lock(vgem.fd, READ)
        writer.start(lock, vgem.fd, WRITE)
        until_waiting(writer, vgem.fd)
        job = blitter.fill(vgem.fd, 2, wait=False)
        assert not job.granted
        with vgem.dmabuf.cpu_access(Access.READ), vgem.dmabuf.map(Access.READ) as memory:
            assert bytes(memory[:4]) == bytes(4)
        trylock(vgem.fd, READ, 100, 10)
        unlock(vgem.fd)
        writer.result()
        writer.call(unlock, vgem.fd)
        job.wait(20)
        job.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [READ, WRITE])
def test_fence_that_is_never_signalled(vgem: VgemBuffer, actors: Actors, kind: int) -> None:
    """Its driver gives it up after 10 s, and that is when the lock is granted."""
    (other,) = actors(1)
    vgem.attach(write=True)
    other.start(lock, vgem.fd, kind)
    until(_granting(other, vgem.fd))
    assert select.select([vgem.fd], [], [], 0)[0] == []
    other.result(timeout=60)
    assert select.select([vgem.fd], [], [], 0)[0] == [vgem.fd]
    assert [(access.pid, access.state) for access in accesses(vgem.fd)] == [(other.pid, "held")]
    other.call(unlock, vgem.fd)
