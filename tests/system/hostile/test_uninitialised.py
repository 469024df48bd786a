# SPDX-License-Identifier: MIT
"""No byte reaches user space that the kernel has not written (or been given).

On debug kernels the modules are built such that memory on the stack is 0xfe until it is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ioctl_calls import CALLS, FLAGS, SIZE
from state import DEBUG_KERNEL, open_files

from dmabuf_sync import Display
from dmabuf_sync._uapi import ffi, lib

NEVER_WRITTEN = b"\xfe" * 4
PLANTED = "/sys/kernel/debug/dsync_planted"


@pytest.fixture(scope="module", autouse=True)
def _pattern() -> Iterator[None]:
    """Is it really there? A module of the tests shows its stack."""
    if not DEBUG_KERNEL:
        pytest.skip("the modules of this kernel are built as users build them")
    folder = os.environ["DMABUF_SYNC_MODULES"]
    subprocess.run(["insmod", f"{folder}/dsync_planted/dsync_planted.ko"], check=True)
    fd = os.open(PLANTED, os.O_RDONLY)
    assert os.read(fd, 64).count(NEVER_WRITTEN) > 4
    os.close(fd)
    subprocess.run(["rmmod", "dsync_planted"], check=True)
    yield


@contextlib.contextmanager
def closing_what_is_made() -> Iterator[None]:
    """Many a call answers with file descriptors, each in a place of its own."""
    before = open_files()
    yield
    for fd in open_files() - before:
        os.close(fd)


@pytest.mark.parametrize("fill", [b"\0", b"\x55"])
@pytest.mark.parametrize("name", CALLS)
def test_ioctls(buf: int, name: str, fill: bytes) -> None:
    """A successful call, and one that fails; also what lies behind the argument is left alone."""
    number = getattr(lib, name)
    file, made = CALLS[name](buf)
    for data in (bytes(ffi.buffer(made)), fill * ffi.sizeof(made[0])):
        memory = bytearray(data + fill * 64)
        try:
            with closing_what_is_made():
                fcntl.ioctl(file, number, memory)
        except OSError:
            assert memory[: len(data)] == data
        assert NEVER_WRITTEN not in memory
        assert memory[len(data) :] == fill * 64
    os.close(file)


def test_every_byte_of_an_answer_is_the_kernels(buf: int) -> None:
    """Where all is output, nothing is left of what was there before."""
    for name in ("DMABUF_SYNC_IOC_INFO", "DMABUF_SYNC_IOC_JOB_INFO"):
        file, made = CALLS[name](buf)
        answers = []
        for fill in (b"\0", b"\xff"):
            memory = bytearray(fill * ffi.sizeof(made[0]))
            fcntl.ioctl(file, getattr(lib, name), memory)
            answers.append(bytes(memory))
        assert answers[0] == answers[1]
        os.close(file)


def test_events_of_a_display(buf: int) -> None:
    with Display() as display:
        display.flip(buf, period_us=1000)
        data = os.read(display.fileno(), 4096)
        assert data
        assert NEVER_WRITTEN not in data


@pytest.mark.parametrize("command", [fcntl.F_GETLK, 36])
def test_getlk(buf: int, command: int) -> None:
    from locks import FLOCK

    reply = fcntl.fcntl(buf, command, FLOCK.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    assert NEVER_WRITTEN not in reply


def test_a_fresh_buffer_is_zero() -> None:
    import mmap

    for flags in (0, lib.VDMABUF_ALLOC_COHERENT):
        request: Any = ffi.new("struct vdmabuf_alloc *")
        request.size, request.flags, request.fd_flags = SIZE, flags, FLAGS
        device = os.open("/dev/vdmabuf", FLAGS)
        fcntl.ioctl(device, lib.VDMABUF_IOC_ALLOC, ffi.buffer(request))
        with mmap.mmap(request.fd, SIZE) as memory:
            assert memory[:] == bytes(SIZE)
        os.close(request.fd)
        os.close(device)
