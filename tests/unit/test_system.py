# SPDX-License-Identifier: MIT
"""Timeouts, checks of arguments, and the mapping of errors."""

import errno
import os
import signal
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from dmabuf_sync import Access, Deadlock, LockRevoked
from dmabuf_sync._system import (
    NO_TIMEOUT,
    byte_range,
    c_string,
    deadline_ns,
    descriptor,
    hold_ms,
    ioctl,
    remaining_ms,
    unsigned,
)
from dmabuf_sync._uapi import ffi, lib
from dmabuf_sync.access import cpu_access, sync_flags
from dmabuf_sync.errors import kernel_error, revoked


@pytest.mark.parametrize("timeout", [0, 0.25, 3, timedelta(milliseconds=1500)])
def test_deadline_is_monotonic_time(timeout: Any) -> None:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    before = time.monotonic_ns()
    deadline = deadline_ns(timeout)
    after = time.monotonic_ns()
    assert before + seconds * 1e9 <= deadline <= after + seconds * 1e9


@pytest.mark.parametrize("timeout", [None, float("inf"), 1e300, 1e12, timedelta.max])
def test_no_deadline(timeout: Any) -> None:
    assert deadline_ns(timeout) == NO_TIMEOUT
    assert remaining_ms(NO_TIMEOUT) is None


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), timedelta(seconds=-1)])
def test_bad_timeout(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must"):
        deadline_ns(timeout)


def test_timeout_of_another_type() -> None:
    with pytest.raises(TypeError, match="timeout must be seconds or a timedelta, not '1'"):
        deadline_ns("1")  # type: ignore[arg-type]


def test_remaining() -> None:
    assert remaining_ms(time.monotonic_ns() - 1) == 0
    left = remaining_ms(deadline_ns(10))
    assert left is not None
    assert 9_000 < left <= 10_000
    assert remaining_ms(deadline_ns(1e9)) == 1e9  # seconds and milliseconds


def test_hold_is_rounded_up_to_milliseconds() -> None:
    assert hold_ms(None) == 0
    assert hold_ms(1e-9) == 1
    assert hold_ms(0.0015) == 2
    assert hold_ms(timedelta(seconds=2)) == 2000


@pytest.mark.parametrize("hold", [0, -1, float("inf"), float("nan"), 1e10])
def test_bad_hold(hold: float) -> None:
    with pytest.raises(ValueError, match="hold must be"):
        hold_ms(hold)


def test_descriptor() -> None:
    with open("/dev/null") as file:
        assert descriptor(file) == descriptor(file.fileno()) == file.fileno()
    for bad in (-1, 2**31):
        with pytest.raises(ValueError, match="cannot be a file descriptor"):
            descriptor(bad)
    with pytest.raises(TypeError, match="need a file descriptor"):
        descriptor("3")  # type: ignore[arg-type]


def test_numbers_and_strings() -> None:
    assert unsigned(2**32 - 1, 32, "color") == 2**32 - 1
    assert byte_range(0, 2**63 - 1) == (0, 2**63 - 1)
    for bad in (-1, 2**32):
        with pytest.raises(ValueError, match="color must be at least 0"):
            unsigned(bad, 32, "color")
    with pytest.raises(TypeError, match="size must be an integer"):
        unsigned(1.5, 32, "size")  # type: ignore[arg-type]
    for offset, length in ((-1, 0), (0, -1), (2**63 - 1, 2)):
        with pytest.raises(ValueError, match=r"offset|length"):
            byte_range(offset, length)
    assert c_string("ä" * 15, 32, "name") == ("ä" * 15).encode()
    for name in ("x" * 32, "ä" * 16, "a\0b"):
        with pytest.raises(ValueError, match="name must be at most 31 bytes"):
            c_string(name, 32, "name")


def test_access() -> None:
    assert cpu_access(Access.READ | Access.WRITE) is Access.WRITE
    assert sync_flags(Access.READ | Access.WRITE) == lib.DMA_BUF_SYNC_READ | lib.DMA_BUF_SYNC_WRITE
    assert sync_flags(Access.WRITE) == lib.DMA_BUF_SYNC_WRITE
    for bad in (Access(0), Access.DMA, Access.DMA | Access.READ):
        with pytest.raises(ValueError, match=r"access must be Access\.READ or Access\.WRITE here"):
            cpu_access(bad)
    with pytest.raises(TypeError, match="access must be"):
        cpu_access(1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EAGAIN, BlockingIOError),
        (errno.ETIMEDOUT, TimeoutError),
        (errno.EDEADLK, Deadlock),
        (errno.EACCES, PermissionError),
        (errno.ENOENT, FileNotFoundError),
        (errno.EBADF, OSError),
    ],
)
def test_kernel_error(number: int, kind: type[OSError]) -> None:
    error = kernel_error(number, "lock fd 7")
    assert type(error) is kind
    assert error.errno == number
    assert str(error) == f"[Errno {number}] lock fd 7: {os.strerror(number)}"


def test_revoked_is_a_timeout_error_with_errno() -> None:
    error = revoked("unlock fd 7")
    assert isinstance(error, LockRevoked)
    assert isinstance(error, TimeoutError)
    assert error.errno == errno.ETIMEDOUT
    assert issubclass(Deadlock, OSError)


def test_ioctl_error() -> None:
    with open("/dev/null") as file, pytest.raises(OSError, match="try it: Inappropriate") as caught:
        ioctl(file, lib.DMABUF_SYNC_IOC_UNLOCK, ffi.NULL, "try it")
    assert caught.value.errno == errno.ENOTTY
    with pytest.raises(OSError, match="Bad file") as caught:
        ioctl(2**31 - 1, lib.DMABUF_SYNC_IOC_UNLOCK, ffi.NULL, "try it")
    assert caught.value.errno == errno.EBADF


def test_interrupt_signal_does_nothing() -> None:
    number = lib.uapi_interrupt_signal()
    assert signal.SIGRTMIN <= number <= signal.SIGRTMAX
    assert lib.uapi_interrupt_signal() == number
    signal.pthread_kill(threading.get_ident(), number)
