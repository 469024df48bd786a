# SPDX-License-Identifier: MIT
"""Any bytes as the argument of any ioctl: a documented errno or success, and nothing left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from dmabuf_sync import Access, Blitter, Sync
from dmabuf_sync._uapi import ffi, lib

FLAGS = os.O_RDWR | os.O_CLOEXEC
SIZE = 65536
# Those of the headers, and no other.
ERRORS = {
    errno.EAGAIN, errno.EBADF, errno.EBUSY, errno.EEXIST, errno.EFAULT, errno.EINVAL,
    errno.EMFILE, errno.EMSGSIZE, errno.ENOENT, errno.ENOMEM, errno.ENOSPC, errno.ENOTTY,
    errno.EPERM, errno.ETIMEDOUT,
}  # fmt: skip
CANARY = b"\xa5" * 64
# At the borders of what is allowed.
INTERESTING = (0, 1, 2, 3, 4, 7, 0x7F, 0x80, 0xFF)

Make = Callable[[int], tuple[int, Any]]
"""From a dma-buf: the file that is asked, and a sensible argument."""


def _argument(kind: str, **fields: Any) -> Any:
    made = ffi.new(f"struct {kind} *")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _device(name: str, kind: str, **fields: Any) -> Make:
    return lambda buf: (os.open(f"/dev/{name}", FLAGS), _argument(kind, **fields))


def _timed_lock(buf: int) -> tuple[int, Any]:
    # Not for ever, should it have to wait for another.
    fields = {"fd": buf, "access": 2, "length": 4096, "timeout_ns": 1}
    return os.open("/dev/dmabuf_sync", FLAGS), _argument("dmabuf_sync_timed_lock", **fields)


def _sync_file(buf: int, empty: bool) -> int:
    with Sync("bytes") as sync:
        if not empty:
            sync.add(buf, Access.WRITE)
        return os.dup(sync.fileno())


def _sync(kind: str, **fields: Any) -> Make:
    def make(buf: int) -> tuple[int, Any]:
        if "fd" in fields:
            fields["fd"] = buf
        return _sync_file(buf, kind == "dmabuf_sync_add"), _argument(kind, **fields)

    return make


def _job(kind: str) -> Make:
    def make(buf: int) -> tuple[int, Any]:
        with Blitter() as blitter, blitter.fill(buf, 0) as job:
            job.wait(30)
            return os.dup(job.fileno()), _argument(kind)

    return make


def _memfd(buf: int) -> tuple[int, Any]:
    memfd = os.memfd_create("bytes", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(memfd, SIZE)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    fields = {"memfd": memfd, "size": SIZE, "fd_flags": FLAGS}
    return os.open("/dev/vdmabuf", FLAGS), _argument("vdmabuf_from_memfd", **fields)


# What the address in a submit points to has to live as long as the test.
_op = ffi.new("struct vblit_op *")
_op.src_fd = -1
_op.dst.pitch, _op.dst.bytes_per_pixel, _op.dst.width, _op.dst.height = 64, 4, 16, 8


def _submit(buf: int) -> tuple[int, Any]:
    fields = {"ops": int(ffi.cast("uintptr_t", _op)), "num_ops": 1, "dst_fd": buf}
    return os.open("/dev/vblit", FLAGS), _argument("vblit_submit", **fields)


def _flip(buf: int) -> tuple[int, Any]:
    fields = {"fd": buf, "flags": 1, "length": 4096, "period_us": 1000}
    return os.open("/dev/vdisplay", FLAGS), _argument("vdisplay_flip", **fields)


CALLS: dict[str, Make] = {
    "DMABUF_SYNC_IOC_QUERY": _device("dmabuf_sync", "dmabuf_sync_query"),
    "DMABUF_SYNC_IOC_CREATE": _device("dmabuf_sync", "dmabuf_sync_create"),
    "DMABUF_SYNC_IOC_TIMED_LOCK": _timed_lock,
    "DMABUF_SYNC_IOC_ADD": _sync("dmabuf_sync_add", fd=0, access=1),
    "DMABUF_SYNC_IOC_REMOVE": _sync("dmabuf_sync_remove", fd=0),
    "DMABUF_SYNC_IOC_LOCK": _sync("dmabuf_sync_lock", timeout_ns=1),
    "DMABUF_SYNC_IOC_INFO": _sync("dmabuf_sync_info"),
    "DMABUF_SYNC_IOC_JOB_INFO": _job("dmabuf_sync_job_info"),
    "DMABUF_SYNC_IOC_JOB_SYNC_FILE": _job("dmabuf_sync_job_sync_file"),
    "VDMABUF_IOC_QUERY": _device("vdmabuf", "vdmabuf_query"),
    "VDMABUF_IOC_ALLOC": _device("vdmabuf", "vdmabuf_alloc", size=SIZE, fd_flags=FLAGS),
    "VDMABUF_IOC_FROM_MEMFD": _memfd,
    "VBLIT_IOC_QUERY": _device("vblit", "vblit_query"),
    "VBLIT_IOC_SUBMIT": _submit,
    "VDISPLAY_IOC_FLIP": _flip,
}


def _mutate(sensible: bytes, chance: random.Random) -> bytes:
    """Nothing but noise, or some bytes of a sensible argument changed."""
    if chance.random() < 0.2:
        return chance.randbytes(len(sensible))
    data = bytearray(sensible)
    for _ in range(chance.randint(0, 3)):
        at = chance.randrange(len(data))
        data[at] = chance.choice((*INTERESTING, chance.randrange(256)))
        if chance.random() < 0.2:
            at -= at % 4
            data[at : at + 4] = chance.choice((b"\xff" * 4, b"\0\0\0\x80", b"\xff\xff\xff\x7f"))
    return bytes(data)


def _files() -> set[int]:
    """Open descriptors, without the one that lists them."""
    with os.scandir("/proc/self/fd") as entries:
        found = {int(entry.name) for entry in entries}
    return {fd for fd in found if os.path.exists(f"/proc/self/fd/{fd}")}


def _fuzz(name: str, buf: int, rounds: int, seed: int) -> set[int]:
    """Returns the errors there were; 0 is success."""
    chance = random.Random(f"{name} {seed}")
    number = getattr(lib, name)
    file, made = CALLS[name](buf)
    sensible = bytes(ffi.buffer(made))
    keep = _files()
    seen = set()
    for _ in range(rounds):
        data = _mutate(sensible, chance)
        memory = bytearray(data + CANARY)
        try:
            fcntl.ioctl(file, number, memory)
            error = 0
        except OSError as failure:
            error = failure.errno or -1
        seen.add(error)
        assert memory[len(data) :] == CANARY
        if error:
            assert error in ERRORS, f"{errno.errorcode[error]} for {data.hex()}"
            assert memory[: len(data)] == data, f"{errno.errorcode[error]} has changed {data.hex()}"
        elif name.startswith("DMABUF_SYNC_IOC_LOCK"):
            with contextlib.suppress(OSError):
                fcntl.ioctl(file, lib.DMABUF_SYNC_IOC_UNLOCK)
        if not error or chance.random() < 0.01:
            for fd in _files() - keep:
                os.close(fd)
    with contextlib.suppress(OSError):
        fcntl.lockf(buf, fcntl.LOCK_UN)
    for fd in (_files() - keep) | {file}:
        os.close(fd)
    if name == "VDMABUF_IOC_FROM_MEMFD":
        os.close(made.memfd)
    return seen


@pytest.mark.parametrize("name", CALLS)
def test_any_bytes(buf: int, name: str) -> None:
    seen = _fuzz(name, buf, rounds=80, seed=1)
    # Else all it does is to be refused, and that is no test.
    assert 0 in seen
    assert len(seen) > 1 or name.endswith("INFO")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CALLS)
def test_any_bytes_for_long(buf: int, name: str) -> None:
    assert 0 in _fuzz(name, buf, rounds=20_000, seed=2)


@pytest.mark.parametrize("device", ["dmabuf_sync", "vdmabuf", "vblit", "vdisplay"])
def test_any_number(device: str) -> None:
    """What is not in the header is ENOTTY, whatever size it claims."""
    known = {value for name in CALLS if isinstance(value := getattr(lib, name), int)}
    chance = random.Random(device)
    fd = os.open(f"/dev/{device}", FLAGS)
    for _ in range(2000):
        number = chance.getrandbits(32)
        if chance.random() < 0.8:
            number = number & ~0xFF00 | lib.DMABUF_SYNC_IOC_MAGIC << 8
        # linux/ioctl.h's FIOCLEX and their like are for every file.
        if number in known or number >> 8 & 0xFF in (0x54, 0x66, 0x15, 0x94, 0x12):
            continue
        with pytest.raises(OSError, match=rf"\[Errno {errno.ENOTTY}\]"):
            fcntl.ioctl(fd, number, bytearray(1 << 14))
    os.close(fd)
