# SPDX-License-Identifier: MIT
"""The library: fcntl locks."""

import errno
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from other_process import PAGE, SIZE, Other

from dmabuf_sync import (
    Access,
    Control,
    Deadlock,
    DmaBuf,
    Exporter,
    LockRevoked,
    close_control,
)


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


CALLS = ["unlock", "lock", "timed", "hold", "now", "now with hold", "brief", "brief with hold"]


@pytest.mark.parametrize("call", CALLS)
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
        "brief": lambda: buf.lock(Access.READ, timeout=0),
        "brief with hold": lambda: buf.lock(Access.READ, timeout=0, hold=5),
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
