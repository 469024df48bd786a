# SPDX-License-Identifier: MIT
"""The Python library on real dma-bufs, with the modules loaded."""

import asyncio
import contextlib
import errno
import fcntl
import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from actors import Actor

from dmabuf_sync import (
    Access,
    Blit,
    Blitter,
    Control,
    Copy,
    Deadlock,
    DmaBuf,
    Exporter,
    Fill,
    Heap,
    JobState,
    LockRevoked,
    Operation,
    Rect,
    Sync,
    SyncState,
    Udmabuf,
    close_control,
    heaps,
)

PAGE = mmap.PAGESIZE
SIZE = 16 * PAGE

BUFFERS: list[DmaBuf] = []
"""What an actor that is forked off knows."""


def do(line: str) -> str:
    """In an actor: run a line on its first buffer `buf`, or on `buffers`; what became of it."""
    known = {"buf": BUFFERS[0], "buffers": BUFFERS, "READ": Access.READ, "WRITE": Access.WRITE}
    try:
        exec(line, known)
    except OSError as error:
        return type(error).__name__
    return "ok"


class Other:
    """Another process with the same buffers, which runs a line of Python at a time."""

    def __init__(self, *buffers: DmaBuf) -> None:
        BUFFERS[:] = buffers
        self.actor = Actor()
        BUFFERS.clear()

    def start(self, line: str) -> None:
        self.actor.start(do, line)

    def result(self) -> str:
        return str(self.actor.result())

    def run(self, line: str) -> str:
        self.start(line)
        return self.result()

    def waits(self) -> bool:
        """Whether it is still at it after a while: it waits in the kernel."""
        time.sleep(0.2)
        return self.actor.running()


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with Exporter() as opened:
        yield opened


@pytest.fixture
def buf(exporter: Exporter) -> Iterator[DmaBuf]:
    with exporter.allocate(SIZE, name="test") as buffer:
        yield buffer


@pytest.fixture
def buf2(exporter: Exporter) -> Iterator[DmaBuf]:
    with exporter.allocate(SIZE, name="test 2") as buffer:
        yield buffer


@pytest.fixture
def spawn() -> Iterator[Callable[..., Other]]:
    with contextlib.ExitStack() as stack:

        def start(*buffers: DmaBuf) -> Other:
            process = Other(*buffers)
            stack.callback(process.actor.kill)
            return process

        yield start


@pytest.fixture
def other(buf: DmaBuf, spawn: Callable[..., Other]) -> Other:
    return spawn(buf)


@pytest.fixture
def blitter() -> Iterator[Blitter]:
    with Blitter() as opened:
        yield opened


# -- buffers


def test_allocate(exporter: Exporter) -> None:
    info = exporter.info()
    assert info.page_size == PAGE
    with exporter.allocate(PAGE, "a name") as buffer:
        assert buffer.size == PAGE
        assert buffer.name == "a name"
        assert buffer.writable
        assert fcntl.fcntl(buffer, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        with buffer.map() as m:
            assert bytes(m) == bytes(PAGE)
    for size, number in ((0, errno.EINVAL), (PAGE + 1, errno.EINVAL), (2**63, errno.EINVAL)):
        if number == errno.EINVAL and size % PAGE == 0 and size:
            number = errno.EMSGSIZE
        with pytest.raises(OSError, match="allocate") as caught:
            exporter.allocate(size)
        assert caught.value.errno == number
    with pytest.raises(ValueError, match="name must be at most 31 bytes"):
        exporter.allocate(PAGE, "x" * 32)


def test_from_memfd(exporter: Exporter) -> None:
    memfd = os.memfd_create("pages", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, 3 * PAGE)
    with pytest.raises(OSError, match="memfd") as caught:
        exporter.from_memfd(memfd)
    assert caught.value.errno == errno.EINVAL, "F_SEAL_SHRINK was not asked for"
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    os.pwrite(memfd, b"from the memfd", PAGE)
    with exporter.from_memfd(memfd, PAGE) as buffer:
        assert buffer.size == 2 * PAGE
        with buffer.map() as m:
            assert bytes(m[:14]) == b"from the memfd"
            m[:2] = b"to"
    assert os.pread(memfd, 14, PAGE) == b"toom the memfd"
    os.close(memfd)


def test_info_and_name(buf: DmaBuf) -> None:
    info = buf.info()
    assert info.size == buf.size == SIZE
    assert info.name == "test"
    assert info.exporter
    assert info.references >= 1
    assert info.inode == os.fstat(buf.fileno()).st_ino
    buf.name = "renamed"
    assert buf.name == "renamed"
    with pytest.raises(OSError, match="name fd") as caught:
        buf.name = "x" * 40
    assert caught.value.errno == errno.EINVAL
    assert buf.name == "renamed"


def test_read_only(exporter: Exporter) -> None:
    with exporter.allocate(PAGE, writable=False) as buffer:
        assert not buffer.writable
        with buffer.map() as m:
            assert m.readonly
        with buffer.locked(Access.READ):
            pass
        choices: list[dict[str, Any]] = [{}, {"timeout": 1}, {"blocking": False}]
        for options in choices:
            with pytest.raises(OSError, match="lock fd") as caught:
                buffer.lock(Access.WRITE, **options)
            assert caught.value.errno == errno.EBADF
        with Sync() as sync, pytest.raises(OSError, match="add fd") as caught:
            sync.add(buffer, Access.WRITE)
        assert caught.value.errno == errno.EBADF


def test_cpu_access_and_fences(buf: DmaBuf) -> None:
    for access in (Access.READ, Access.WRITE, Access.READ | Access.WRITE):
        with buf.cpu_access(access):
            pass
        with buf.export_sync_file(access) as fence:
            fence.wait(1)
            assert fence.info().status == 1
            buf.import_sync_file(fence, access)


@pytest.mark.parametrize("make", [lambda: Heap("system"), Udmabuf], ids=["heap", "udmabuf"])
def test_buffers_of_the_kernel(make: Callable[[], Any], blitter: Blitter) -> None:
    try:
        allocator = make()
    except FileNotFoundError as error:
        pytest.skip(f"this kernel has no {error.filename}")
    with allocator, allocator.allocate(SIZE) as buffer:
        assert buffer.size == SIZE
        with buffer.locked(Access.WRITE, timeout=1), buffer.map() as m:
            m[:4] = b"abcd"
        with Sync() as sync:
            sync.add(buffer, Access.READ)
            with sync.locked(timeout=1), buffer.map(Access.READ) as m:
                assert bytes(m[:4]) == b"abcd"
    assert isinstance(heaps(), tuple)


# -- fcntl locks


def test_lock_excludes_processes(buf: DmaBuf, other: Other) -> None:
    with buf.locked(Access.WRITE) as locked:
        assert locked is buf
        assert other.run("buf.lock(READ, blocking=False)") == "BlockingIOError"
        assert other.run("buf.lock(READ, timeout=0.05)") == "TimeoutError"
    assert other.run("buf.lock(READ, blocking=False)") == "ok"
    buf.lock(Access.READ, blocking=False)
    with pytest.raises(BlockingIOError):
        buf.lock(Access.WRITE, blocking=False)
    with pytest.raises(BlockingIOError):
        buf.lock(Access.WRITE, blocking=False, hold=1)
    conflict = buf.test(Access.WRITE)
    assert conflict is not None
    assert conflict.pid == other.actor.pid
    assert conflict.access is Access.READ
    assert buf.test(Access.READ) is None


def test_ranges(buf: DmaBuf, other: Other) -> None:
    buf.lock(Access.WRITE, offset=0, length=PAGE)
    assert other.run("buf.lock(WRITE, offset=4096, blocking=False)") == "ok"
    assert other.run("buf.lock(WRITE, offset=4095, length=1, timeout=0)") == "TimeoutError"
    buf.unlock(PAGE - 1, 1)
    assert other.run("buf.lock(WRITE, offset=4095, length=1, timeout=0)") == "ok"
    with pytest.raises(OSError, match="lock fd") as caught:
        buf.lock(Access.READ, offset=SIZE, length=1, timeout=1)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("timeout", [0.2, timedelta(milliseconds=200)])
def test_timeout(buf: DmaBuf, other: Other, timeout: Any) -> None:
    assert other.run("buf.lock(WRITE)") == "ok"
    before = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        buf.lock(Access.READ, timeout=timeout)
    assert 0.2 <= time.monotonic() - before < 2
    assert caught.value.errno == errno.ETIMEDOUT
    assert not isinstance(caught.value, LockRevoked)
    assert other.run("buf.unlock()") == "ok"
    assert other.run("buf.lock(WRITE, timeout=0)") == "ok", "the request was left behind"


def test_deadlock(buf: DmaBuf, buf2: DmaBuf, spawn: Callable[..., Other]) -> None:
    other = spawn(buf, buf2)
    assert other.run("buffers[1].lock(WRITE)") == "ok"
    buf.lock(Access.WRITE)
    other.start("buffers[0].lock(WRITE)")
    assert other.waits()
    with pytest.raises(Deadlock) as caught:
        buf2.lock(Access.WRITE)
    assert caught.value.errno == errno.EDEADLK
    buf.unlock()
    assert other.result() == "ok"


@pytest.mark.parametrize("call", ["unlock", "lock", "timed", "hold", "now", "now with hold"])
def test_revoked(buf: DmaBuf, other: Other, call: str) -> None:
    buf.lock(Access.WRITE, hold=0.05)
    assert other.run("buf.lock(WRITE, timeout=5)") == "ok"
    calls: dict[str, Callable[[], None]] = {
        "unlock": buf.unlock,
        "lock": lambda: buf.lock(Access.READ),
        "timed": lambda: buf.lock(Access.READ, timeout=5),
        "hold": lambda: buf.lock(Access.READ, hold=5),
        "now": lambda: buf.lock(Access.READ, blocking=False),
        "now with hold": lambda: buf.lock(Access.READ, blocking=False, hold=5),
    }
    with pytest.raises(LockRevoked) as caught:
        calls[call]()
    assert caught.value.errno == errno.ETIMEDOUT
    assert other.run("buf.unlock()") == "ok"
    buf.lock(Access.WRITE, timeout=1)  # told once


def test_a_revoked_block(buf: DmaBuf, other: Other) -> None:
    with pytest.raises(LockRevoked), buf.locked(Access.WRITE, hold=0.05):
        assert other.run("buf.lock(WRITE, timeout=5)") == "ok"
    assert other.run("buf.unlock()") == "ok"

    def fail_in_block() -> None:
        with buf.locked(Access.WRITE, hold=0.05):
            assert other.run("buf.lock(WRITE, timeout=5)") == "ok"
            raise KeyError

    with pytest.raises(KeyError) as caught:
        fail_in_block()
    assert "revoked" in caught.value.__notes__[0]


def test_unmapping_keeps_the_lock(buf: DmaBuf, other: Other) -> None:
    with buf.locked(Access.WRITE):
        with buf.map() as m:
            m[:4] = b"\x01\x02\x03\x04"
        assert other.run("buf.lock(WRITE, blocking=False)") == "BlockingIOError"


def test_closing_unlocks(exporter: Exporter, spawn: Callable[..., Other]) -> None:
    buffer = exporter.allocate(PAGE)
    other = spawn(buffer)
    with buffer.locked(Access.WRITE):
        buffer.close()
    assert other.run("buf.lock(WRITE, blocking=False)") == "ok"


def test_a_killed_holder_wakes_the_waiter(buf: DmaBuf, other: Other) -> None:
    assert other.run("buf.lock(WRITE)") == "ok"
    timer = threading.Timer(0.2, other.actor.kill)
    timer.start()
    buf.lock(Access.WRITE, timeout=10)
    timer.join()


@pytest.mark.parametrize("options", [{}, {"timeout": 30}])
def test_ctrl_c_ends_the_wait(buf: DmaBuf, other: Other, options: Any) -> None:
    assert other.run("buf.lock(WRITE)") == "ok"
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        buf.lock(Access.WRITE, **options)
    timer.join()
    assert other.run("buf.unlock()") == "ok"
    assert other.run("buf.lock(WRITE, blocking=False)") == "ok"


def test_plain_fcntl_is_the_same_lock(buf: DmaBuf, other: Other) -> None:
    fcntl.lockf(buf, fcntl.LOCK_EX)
    assert other.run("buf.lock(WRITE, blocking=False)") == "BlockingIOError"
    buf.unlock()
    assert other.run("buf.lock(WRITE, blocking=False)") == "ok"


# -- asyncio


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


# -- sync objects


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


def test_control(buf: DmaBuf) -> None:
    with Control() as control:
        info = control.info()
    assert info.hold_timeout_ms > 0
    assert info.max_hold_timeout_ms >= info.hold_timeout_ms
    assert info.max_buffers >= 64
    buf.lock(Access.READ, timeout=1)
    close_control()
    close_control()
    buf.lock(Access.READ, timeout=1)


# -- DMA


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


def test_numpy_without_a_copy(buf: DmaBuf) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    with buf.locked(Access.WRITE), buf.map() as m:
        numpy.frombuffer(m, dtype=numpy.uint32)[:] = numpy.arange(SIZE // 4)
    with buf.map(Access.READ, offset=4 * 1000, length=4) as m:
        assert int.from_bytes(m, "little") == 1000
