# SPDX-License-Identifier: MIT
"""Driver: the driver API of the framework, called through the module in tests/module.

    driver = Driver()                # dmabuf_sync_init(), with callbacks
    driver.get(fd, DMA_WRITE)
    driver.lock()
    driver.unlock()
    driver.close()                   # dmabuf_sync_fini()

Every method is one function of linux/dmabuf-sync.h and raises the OSError it returns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import modules
import pytest
from modules import insmod

F_READ, F_WRITE = 0, 1
"""fcntl()'s, for what both names stand for."""
MODULES = ("dsync_exporter", "dsync_test")
READ, WRITE, DMA_READ, DMA_WRITE = 1, 2, 5, 6
RESVS = 4
"""Reservation objects of the module, numbered from 0."""

NO_OPS, NO_STOP, BAD_PREPARE, QUICK, SLOW_START, QUEUES = 1, 2, 4, 8, 16, 32
TO_DEVICE, FROM_DEVICE, NO_DIRECTION = 1, 2, 3
_WAIT = 1 << 16

# struct dsync_test_call, struct dsync_test_state
_CALL = struct.Struct("ii")
_STATE = struct.Struct("IIIIIIi36sII")
_HOOKS = 1024


def _number(nr: int) -> int:
    return (1 << 30) | (_CALL.size << 16) | (0xA8 << 8) | nr


_READ_STATE = (2 << 30) | (_STATE.size << 16) | (0xA8 << 8) | 0xE3
_READ_HOOKS = (2 << 30) | (_HOOKS << 16) | (0xA8 << 8) | 0xE4
_PARAMETERS = "/sys/module/dsync_{}/parameters/{}"


@dataclass(frozen=True)
class State:
    """What the callbacks have seen: how often each was called, and the order as initials.

    And how many calls of begin_cpu_access and of end_cpu_access are running on all buffers that
    were exported with caches.
    """

    prepared: int
    granted: int
    started: int
    stopped: int
    finished: int
    freed: int
    grant_error: int
    order: str
    in_begin: int
    in_end: int


class Driver:
    """An open file of the module: a driver with one sync object."""

    def __init__(self, flags: int | None = 0) -> None:
        """With a sync object, unless `flags` is None."""
        self.fd = os.open("/dev/dsync_test", os.O_RDWR | os.O_CLOEXEC)
        if flags is not None:
            self.init(flags)

    def close(self) -> None:
        """As a driver that cleans up after itself."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, nr: int, fd: int = -1, value: int = 0) -> int:
        # With a bytearray it returns what the ioctl returns.
        return fcntl.ioctl(self.fd, _number(nr), bytearray(_CALL.pack(fd, value)))

    def state(self) -> State:
        data = bytearray(_STATE.size)
        fcntl.ioctl(self.fd, _READ_STATE, data)
        *numbers, order, in_begin, in_end = _STATE.unpack(data)
        return State(*numbers, order.rstrip(b"\0").decode(), in_begin, in_end)

    def is_supported(self) -> bool:
        return self._call(0xC0) == 1

    def init(self, flags: int = 0) -> None:
        self._call(0xC1, value=flags)

    def hold(self) -> None:
        self._call(0xC2)

    def fini(self) -> None:
        self._call(0xC3)

    def flush(self) -> None:
        self._call(0xC4)

    def get(self, fd: int, access: int) -> None:
        self._call(0xC5, fd, access)

    def get_resv(self, index: int, access: int) -> None:
        self._call(0xC6, index, access)

    def put(self, fd: int) -> None:
        self._call(0xC7, fd)

    def put_all(self) -> None:
        self._call(0xC8)

    def lock(self) -> None:
        self._call(0xC9)

    def trylock(self) -> None:
        self._call(0xCA)

    def unlock(self) -> None:
        self._call(0xCB)

    def overdue(self) -> bool:
        return self._call(0xE6) == 1

    def single_lock(self, fd: int, access: int, wait: bool = True) -> None:
        self._call(0xCC, fd, access | (_WAIT if wait else 0))

    def single_unlock(self, fd: int) -> None:
        self._call(0xCD, fd)

    def submit(self) -> None:
        self._call(0xCE)

    def done(self, error: int = 0) -> None:
        """`error` is 0 or a negative errno."""
        self._call(0xCF, value=error)

    def done_in_softirq(self, error: int = 0) -> None:
        """From a timer, in a moment."""
        self._call(0xE0, value=error)

    def cancel(self) -> None:
        self._call(0xD0)

    def wait_granted(self) -> None:
        self._call(0xD1)

    def wait_done(self) -> None:
        self._call(0xD2)

    def wait_started(self, count: int = 1) -> None:
        """Until `count` jobs of this object have been started."""
        self._call(0xE1, value=count)

    def fence(self) -> int:
        """The fence as the fd of a sync_file."""
        return self._call(0xD3)

    def job_file(self) -> int:
        """An fd."""
        return self._call(0xD4)

    def start_dma(self, fd: int, direction: int) -> None:
        """Attaches and maps first."""
        self._call(0xD5, fd, direction)

    def end_dma(self, times: int = 1) -> None:
        self._call(0xD6, value=times)

    def register_exporter(self) -> None:
        """For dma-bufs with hooks; hook_calls() tells what they are called for."""
        self._call(0xD7)

    def unregister_exporter(self) -> None:
        self._call(0xD8)

    def get_range(self, fd: int, access: int, first: int, pages: int) -> None:
        """`pages` of them from number `first` on."""
        self._call(0xD9, fd, access | first << 8 | pages << 16)

    def add_fence(self, sync_file: int) -> None:
        self._call(0xDA, sync_file)

    def add_move(self, sync_file: int, index: int) -> None:
        """The memory of reservation object `index` moves until that has signalled."""
        self._call(0xE5, sync_file, index)

    def set_device(self, which: int) -> None:
        """0 for none, or 1 or 2."""
        self._call(0xDB, value=which)

    def set_explicit(self, explicit: bool) -> None:
        self._call(0xDC, value=int(explicit))

    def running(self) -> None:
        self._call(0xDD)

    def wait_granted_killable(self) -> None:
        self._call(0xDE)

    def cpu_may_access(self, fd: int, first: int, pages: int, write: bool) -> bool:
        return self._call(0xDF, fd, int(write) | first << 8 | pages << 16) == 1


def export(index: int, caches: bool = False, hooks: bool = False) -> int:
    """The fd of a new dma-buf of 16 pages on reservation object `index` of dsync_exporter.

    If it has `caches`, slow() says how long their maintenance takes, and begin_fails() that it
    fails. If it has `hooks` these are called instead, provided Driver.register_exporter() was.
    """
    exporter = os.open("/dev/dsync_exporter", os.O_RDWR | os.O_CLOEXEC)
    kind = 2 if hooks else int(caches)
    try:
        return fcntl.ioctl(exporter, _number(0xE2), bytearray(_CALL.pack(index, kind)))
    finally:
        os.close(exporter)


def hook_calls() -> list[tuple[str, int, int]]:
    """Calls of an exporter's hooks since this was asked last: begin, end or released; its bytes."""
    data = bytearray(_HOOKS)
    with Driver(None) as driver:
        fcntl.ioctl(driver.fd, _READ_HOOKS, data)
    lines = data.rstrip(b"\0").decode().splitlines()
    return [(name, int(first), int(last)) for name, first, last, _ in map(str.split, lines)]


def begin_fails(nth: int) -> None:
    """The n-th begin_cpu_access from now on, of any buffer with caches, fails with ENOSPC."""
    with open(_PARAMETERS.format("exporter", "fail_begin"), "w") as file:
        file.write(str(nth))


def cache_calls() -> tuple[int, int]:
    """How many begin_cpu_access calls have not failed, and how many of end_cpu_access were made."""
    counts = []
    for name in ("begun", "ended"):
        with open(_PARAMETERS.format("exporter", name)) as file:
            counts.append(int(file.read()))
    return counts[0], counts[1]


@contextlib.contextmanager
def slow(call: str) -> Iterator[None]:
    """During the body "begin" or "end" of a CPU access, of buffers with caches, do not return.

    Or "prepare" of any job; or "attach", of a device to a buffer without caches.
    """
    path = _PARAMETERS.format("test" if call == "prepare" else "exporter", f"slow_{call}")
    with open(path, "w") as file:
        file.write("1")
    try:
        yield
    finally:
        with open(path, "w") as file:
            file.write("0")


@contextlib.contextmanager
def fails(number: int) -> Iterator[None]:
    """The body fails with this errno."""
    with pytest.raises(OSError) as caught:
        yield
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[number]


def load() -> None:
    for name in MODULES:
        insmod(name)


def unload() -> None:
    """Until they are gone: they are in use as long as a callback is due or a buffer is open."""
    modules.unload(*reversed(MODULES))


@contextlib.contextmanager
def warns() -> Iterator[None]:
    """The body misuses the API: the kernel warns of it."""
    with open("/sys/kernel/debug/clear_warn_once", "w") as file:
        file.write("1")
    log = os.open("/dev/kmsg", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.lseek(log, 0, os.SEEK_END)
        os.write(log, b"guest: a warning is due")
        try:
            yield
        finally:
            os.write(log, b"guest: no warning is due")
        said = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                said += os.read(log, 8192)
        assert b"WARNING: " in said
    finally:
        os.close(log)
