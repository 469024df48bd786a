# SPDX-License-Identifier: MIT
"""fcntl locks between real processes, on a memfd. What needs the modules is a system test."""

import asyncio
import contextlib
import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from dmabuf_sync import Access, Control, Deadlock, Mapping
from dmabuf_sync._asyncio import in_thread, ready
from dmabuf_sync._posix_lock import Interrupted, PosixLock
from dmabuf_sync._system import NO_TIMEOUT

HOLDER = """
import fcntl, sys
fd = int(sys.argv[1])
for line in sys.stdin:
    try:
        exec(line)
        print("ok", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


class Other:
    """Another process that runs a line of Python at a time on the memfd `fd`."""

    def __init__(self, fd: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(fd)],
            pass_fds=[fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def result(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def run(self, line: str) -> str:
        self.start(line)
        return self.result()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("lock", os.MFD_CLOEXEC)
    os.ftruncate(fd, 1 << 16)
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def other(memfd: int) -> Iterator[Other]:
    process = Other(memfd)
    yield process
    process.stop()


WRITE = "fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
WRITE_WAIT = "fcntl.lockf(fd, fcntl.LOCK_EX)"
UNLOCK = "fcntl.lockf(fd, fcntl.LOCK_UN)"


def test_excludes_another_process(memfd: int, other: Other) -> None:
    lock = PosixLock(memfd, Access.WRITE)
    lock.take()
    assert other.run(WRITE) == str(errno.EAGAIN)
    lock.give_back()
    assert other.run(WRITE) == "ok"
    with pytest.raises(BlockingIOError):
        lock.take(blocking=False)


def test_readers_share_and_ranges_are_ranges(memfd: int, other: Other) -> None:
    assert other.run("fcntl.lockf(fd, fcntl.LOCK_SH, 100, 50)") == "ok"
    PosixLock(memfd, Access.READ).take(blocking=False)
    PosixLock(memfd, Access.WRITE, 0, 50).take(blocking=False)
    PosixLock(memfd, Access.WRITE, 150).take(blocking=False)
    with pytest.raises(BlockingIOError):
        PosixLock(memfd, Access.READ | Access.WRITE, 149, 1).take(blocking=False)


def test_conflict(memfd: int, other: Other) -> None:
    lock = PosixLock(memfd, Access.WRITE, 10, 10)
    assert lock.conflict() is None
    assert other.run("fcntl.lockf(fd, fcntl.LOCK_SH, 5, 12)") == "ok"
    conflict = lock.conflict()
    assert conflict is not None
    assert conflict.pid == other.process.pid
    assert (conflict.access, conflict.offset, conflict.length) == (Access.READ, 12, 5)
    assert PosixLock(memfd, Access.READ, 10, 10).conflict() is None


def test_deadlock(other: Other, memfd: int) -> None:
    assert other.run("fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)") == "ok"
    PosixLock(memfd, Access.WRITE, 1, 1).take()
    other.start("fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)")
    time.sleep(0.5)  # whoever of the two waits second is told; that is to be us
    with pytest.raises(Deadlock) as caught:
        PosixLock(memfd, Access.WRITE, 0, 1).take()
    assert caught.value.errno == errno.EDEADLK
    PosixLock(memfd, Access.WRITE, 1, 1).give_back()
    assert other.result() == "ok"


def test_unmapping_keeps_the_lock_and_pythons_mmap_does_not(memfd: int, other: Other) -> None:
    PosixLock(memfd, Access.WRITE).take()
    with Mapping(memfd):
        pass
    assert other.run(WRITE) == str(errno.EAGAIN)
    mmap.mmap(memfd, 4096).close()
    assert other.run(WRITE) == "ok"


def test_a_signal_handler_runs_and_the_wait_goes_on(memfd: int, other: Other) -> None:
    assert other.run(WRITE) == "ok"
    seen = []

    def handler(number: int, frame: object) -> None:
        seen.append(number)
        other.start(UNLOCK)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        PosixLock(memfd, Access.WRITE).take()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == [signal.SIGALRM]


def test_ctrl_c_ends_the_wait(memfd: int, other: Other) -> None:
    assert other.run(WRITE) == "ok"
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        PosixLock(memfd, Access.WRITE).take()
    timer.join()
    assert other.run(UNLOCK) == "ok"
    assert other.run(WRITE) == "ok", "the interrupted request left something behind"


def test_the_gil_is_released(memfd: int, other: Other) -> None:
    assert other.run(WRITE) == "ok"
    timer = threading.Timer(0.1, other.start, (UNLOCK,))
    timer.start()
    PosixLock(memfd, Access.WRITE).take()
    timer.join()


def test_interrupted(memfd: int) -> None:
    with pytest.raises(Interrupted):
        PosixLock(memfd, Access.WRITE).take(interrupted=lambda: True)


def test_bad_arguments(memfd: int) -> None:
    for offset, length in ((-1, 0), (0, -1), (2**62, 2**62 + 1)):
        with pytest.raises(ValueError, match=r"offset|length"):
            PosixLock(memfd, Access.READ, offset, length)
    with pytest.raises(ValueError, match="access"):
        PosixLock(memfd, Access.DMA | Access.WRITE)
    reader = os.open(f"/proc/self/fd/{memfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with pytest.raises(OSError, match="lock fd") as caught:
            PosixLock(reader, Access.WRITE).take()
        assert caught.value.errno == errno.EBADF
    finally:
        os.close(reader)


@pytest.mark.skipif(os.path.exists(Control.PATH), reason="the module dmabuf_sync is loaded")
def test_a_timeout_needs_the_module_even_when_nothing_waits(memfd: int, other: Other) -> None:
    for deadline, hold_ms in ((time.monotonic_ns(), 0), (NO_TIMEOUT, 1)):
        with pytest.raises(FileNotFoundError, match="/dev/dmabuf_sync"):
            PosixLock(memfd, Access.WRITE).take(deadline=deadline, hold_ms=hold_ms)
        assert other.run(WRITE) == "ok"
        assert other.run(UNLOCK) == "ok"


def lock_in_thread(lock: PosixLock) -> asyncio.Task[None]:
    return asyncio.create_task(
        in_thread(lambda interrupted: lock.take(interrupted=interrupted), lock.give_back)
    )


def test_async_lock_waits_and_gets_it(memfd: int, other: Other) -> None:
    async def main() -> None:
        assert other.run(WRITE) == "ok"
        task = lock_in_thread(PosixLock(memfd, Access.WRITE))
        await asyncio.sleep(0.1)
        assert not task.done()
        assert other.run(UNLOCK) == "ok"
        await task
        assert other.run(WRITE) == str(errno.EAGAIN)

    asyncio.run(main())


def test_cancelling_removes_the_request(memfd: int, other: Other) -> None:
    async def main() -> None:
        assert other.run(WRITE) == "ok"
        task = lock_in_thread(PosixLock(memfd, Access.WRITE))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.run(UNLOCK) == "ok"
        # The thread takes the request back before the task is over, and ends a moment later.
        async with asyncio.timeout(20):
            while threading.active_count() > threads:
                await asyncio.sleep(0.01)
        assert other.run(WRITE) == "ok"

    threads = threading.active_count()
    asyncio.run(main())


def test_cancelling_at_any_moment_leaves_nothing_locked(memfd: int, other: Other) -> None:
    async def main() -> None:
        for turn in range(200):
            task = lock_in_thread(PosixLock(memfd, Access.WRITE))
            await asyncio.sleep(turn * 2e-6)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                assert other.run(WRITE) == "ok"
                assert other.run(UNLOCK) == "ok"
            else:
                PosixLock(memfd, Access.WRITE).give_back()

    asyncio.run(main())


def test_errors_come_out_of_the_thread(memfd: int) -> None:
    reader = os.open(f"/proc/self/fd/{memfd}", os.O_RDONLY | os.O_CLOEXEC)

    async def main() -> None:
        with pytest.raises(OSError, match="lock fd"):
            await lock_in_thread(PosixLock(reader, Access.WRITE))

    asyncio.run(main())
    os.close(reader)


def test_ready() -> None:
    async def main() -> None:
        read, write = os.pipe()
        await ready(write, 4)
        waiters = [asyncio.create_task(ready(read, 1)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(waiter.done() for waiter in waiters)
        os.write(write, b"x")
        await asyncio.gather(*waiters)
        os.close(read)
        os.close(write)

    asyncio.run(main())
