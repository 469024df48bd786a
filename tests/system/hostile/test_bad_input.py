# SPDX-License-Identifier: MIT
"""Bad input to /dev/dmabuf_sync and sync objects: the documented errno, and nothing changes."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from locks import READ, trylock
from state import accesses, counters, open_files

from dmabuf_sync import Access, Blitter, Control, Sync, close_control
from dmabuf_sync._uapi import ffi, lib

SetParameter = Callable[[str, int], None]

NO_TIMEOUT = lib.DMABUF_SYNC_NO_TIMEOUT
UNKNOWN = 0xFFFFFFFF


@pytest.fixture
def control() -> Iterator[int]:
    fd = os.open("/dev/dmabuf_sync", os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def _nothing_changes(buf: int) -> Iterator[None]:
    """No descriptor appears, nothing is held."""
    close_control()
    gc.collect()  # descriptors that an earlier test left to the garbage collector
    before = open_files()
    holds = accesses()
    yield
    close_control()
    assert open_files() <= before
    assert accesses() == holds


def call(fd: int, number: int, struct: Any = None) -> int:
    """ioctl() with a struct of the extension; returns 0 or the errno."""
    try:
        if struct is None:
            fcntl.ioctl(fd, number)
        else:
            fcntl.ioctl(fd, number, ffi.buffer(struct))
    except OSError as error:
        assert error.errno is not None
        return error.errno
    return 0


def fails_with_bad_pointer(fd: int, number: int) -> None:
    """EFAULT for an address that is not mapped."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    for address in (0, 1, 1 << 63, (1 << 47) - 4):
        assert libc.ioctl(fd, ctypes.c_ulong(number), ctypes.c_ulong(address)) == -1
        assert ctypes.get_errno() == errno.EFAULT


def timed_lock(fd: int, **fields: int) -> Any:
    request = ffi.new("struct dmabuf_sync_timed_lock *")
    request.fd = fd
    request.access = lib.DMABUF_SYNC_READ
    request.timeout_ns = NO_TIMEOUT
    for name, value in fields.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize("number", ["QUERY", "CREATE", "TIMED_LOCK"])
def test_bad_pointers_of_the_device(control: int, number: str) -> None:
    fails_with_bad_pointer(control, getattr(lib, f"DMABUF_SYNC_IOC_{number}"))


@pytest.mark.parametrize("number", ["ADD", "REMOVE", "LOCK", "INFO"])
def test_bad_pointers_of_a_sync_object(number: str) -> None:
    with Sync("bad") as sync:
        fails_with_bad_pointer(sync.fileno(), getattr(lib, f"DMABUF_SYNC_IOC_{number}"))


def test_unknown_ioctls(control: int, buf: int) -> None:
    with Sync("bad") as sync:
        for fd in (control, sync.fileno()):
            for number in (0, 0xA8FF, lib.DMABUF_SYNC_IOC_JOB_INFO, 0x5401, UNKNOWN):
                assert call(fd, number) == errno.ENOTTY
        assert call(control, lib.DMABUF_SYNC_IOC_UNLOCK) == errno.ENOTTY
        query = ffi.new("struct dmabuf_sync_query *")
        assert call(sync.fileno(), lib.DMABUF_SYNC_IOC_QUERY, query) == errno.ENOTTY


def test_query(control: int) -> None:
    query = ffi.new("struct dmabuf_sync_query *")
    query.pad = 1
    assert call(control, lib.DMABUF_SYNC_IOC_QUERY, query) == errno.EINVAL
    query.pad = 0
    assert call(control, lib.DMABUF_SYNC_IOC_QUERY, query) == 0
    assert query.abi_version == lib.DMABUF_SYNC_ABI_VERSION
    assert query.max_buffers >= 1024


def test_create(control: int) -> None:
    create = ffi.new("struct dmabuf_sync_create *")
    create.flags = 1 << 31
    assert call(control, lib.DMABUF_SYNC_IOC_CREATE, create) == errno.EINVAL
    create.flags = 0
    ffi.buffer(create)[: lib.DMABUF_SYNC_NAME_LEN] = b"x" * lib.DMABUF_SYNC_NAME_LEN
    assert call(control, lib.DMABUF_SYNC_IOC_CREATE, create) == errno.EINVAL


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"pad": 1}, errno.EINVAL),
        ({"access": 0}, errno.EINVAL),
        ({"access": 3}, errno.EINVAL),
        ({"access": 1 | 4}, errno.EINVAL),
        ({"access": UNKNOWN}, errno.EINVAL),
        ({"start": 65536}, errno.EINVAL),
        ({"start": 65535, "length": 2}, errno.EINVAL),
        ({"start": 1, "length": (1 << 64) - 1}, errno.EINVAL),
        ({"start": (1 << 64) - 1}, errno.EINVAL),
        ({"length": 65537}, errno.EINVAL),
        ({"timeout_ns": -1}, errno.EINVAL),
        ({"hold_timeout_ms": UNKNOWN}, errno.EINVAL),
        ({"fd": -1}, errno.EBADF),
        ({"fd": 999999}, errno.EBADF),
    ],
)
def test_timed_lock(control: int, buf: int, fields: dict[str, int], number: int) -> None:
    request = timed_lock(**{"fd": buf, **fields})
    assert call(control, lib.DMABUF_SYNC_IOC_TIMED_LOCK, request) == number
    assert accesses(buf) == []


def test_timed_lock_of_another_kind_of_file(control: int) -> None:
    with tempfile.TemporaryFile() as file, Sync("bad") as sync:
        for fd in (file.fileno(), control, sync.fileno()):
            request = timed_lock(fd)
            assert call(control, lib.DMABUF_SYNC_IOC_TIMED_LOCK, request) == errno.EINVAL


def test_timed_lock_that_runs_out(control: int, buf: int) -> None:
    with Sync("holder") as holder:
        holder.add(buf, Access.WRITE)
        holder.lock()
        past = timed_lock(buf, timeout_ns=1)
        assert call(control, lib.DMABUF_SYNC_IOC_TIMED_LOCK, past) == errno.ETIMEDOUT
        never = timed_lock(buf, timeout_ns=0)
        assert call(control, lib.DMABUF_SYNC_IOC_TIMED_LOCK, never) == errno.EAGAIN
        soon = timed_lock(buf, timeout_ns=time.monotonic_ns() + 10_000_000)
        assert call(control, lib.DMABUF_SYNC_IOC_TIMED_LOCK, soon) == errno.ETIMEDOUT
        assert len(accesses(buf)) == 1


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"pad": 1}, errno.EINVAL),
        ({"access": 0}, errno.EINVAL),
        ({"access": 4}, errno.EINVAL),
        ({"access": 8 | 1}, errno.EINVAL),
        ({"offset": 65536}, errno.EINVAL),
        ({"offset": 1, "length": 65536}, errno.EINVAL),
        ({"offset": 8, "length": (1 << 64) - 4}, errno.EINVAL),
        ({"offset": (1 << 64) - 1}, errno.EINVAL),
        ({"fd": -1}, errno.EBADF),
        ({"fd": 999999}, errno.EBADF),
    ],
)
def test_add(buf: int, fields: dict[str, int], number: int) -> None:
    with Sync("bad") as sync:
        request = ffi.new("struct dmabuf_sync_add *")
        request.fd = buf
        request.access = lib.DMABUF_SYNC_READ
        for name, value in fields.items():
            setattr(request, name, value)
        assert call(sync.fileno(), lib.DMABUF_SYNC_IOC_ADD, request) == number
        assert sync.info().buffers == 0
        remove = ffi.new("struct dmabuf_sync_remove *")
        remove.fd = buf
        remove.pad = 1
        assert call(sync.fileno(), lib.DMABUF_SYNC_IOC_REMOVE, remove) == errno.EINVAL


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"flags": 4}, errno.EINVAL),
        ({"flags": 3}, errno.EINVAL),
        ({"flags": UNKNOWN}, errno.EINVAL),
        ({"timeout_ns": -1}, errno.EINVAL),
        ({"flags": 2, "timeout_ns": 5}, errno.EINVAL),
        ({"hold_timeout_ms": UNKNOWN}, errno.EINVAL),
        ({"hold_timeout_ms": 60_001}, errno.EINVAL),
    ],
)
def test_lock(buf: int, fields: dict[str, int], number: int) -> None:
    with Sync("bad") as sync:
        sync.add(buf, Access.READ)
        request = ffi.new("struct dmabuf_sync_lock *")
        request.timeout_ns = NO_TIMEOUT
        for name, value in fields.items():
            setattr(request, name, value)
        assert call(sync.fileno(), lib.DMABUF_SYNC_IOC_LOCK, request) == number
        assert accesses(buf) == []


def test_too_many_buffers(bufs: Callable[[int], list[int]]) -> None:
    with Control() as control:
        most = control.info().max_buffers
    with Sync("full") as sync:
        for fd in bufs(most):
            sync.add(fd, Access.READ)
        (one_more,) = bufs(1)
        with pytest.raises(OSError, match=rf"\[Errno {errno.ENOSPC}\]"):
            sync.add(one_more, Access.READ)
        assert sync.info().buffers == most


def test_job_fd(buf: int) -> None:
    with Blitter() as blitter, blitter.fill(buf, 0) as job:
        job.wait(20)
        request = ffi.new("struct dmabuf_sync_job_sync_file *")
        request.pad = 1
        assert call(job.fileno(), lib.DMABUF_SYNC_IOC_JOB_SYNC_FILE, request) == errno.EINVAL
        fails_with_bad_pointer(job.fileno(), lib.DMABUF_SYNC_IOC_JOB_SYNC_FILE)
        fails_with_bad_pointer(job.fileno(), lib.DMABUF_SYNC_IOC_JOB_INFO)
        assert call(job.fileno(), lib.DMABUF_SYNC_IOC_QUERY) == errno.ENOTTY


def test_failed_calls_take_nothing(buf: int, control: int) -> None:
    before = counters()["grants"]
    call(control, lib.DMABUF_SYNC_IOC_TIMED_LOCK, timed_lock(buf, access=UNKNOWN))
    assert counters()["grants"] == before
    trylock(buf, READ)
    trylock(buf, 2)
