# SPDX-License-Identifier: MIT
"""Any bytes as the argument of any ioctl: a documented errno or success, and nothing left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random

import pytest
from ioctl_calls import CALLS, FLAGS
from state import open_files

from dmabuf_sync._uapi import ffi, lib

# Those of the headers, and no other.
ERRORS = {
    errno.EAGAIN, errno.EBADF, errno.EBUSY, errno.EEXIST, errno.EFAULT, errno.EINVAL,
    errno.EMFILE, errno.EMSGSIZE, errno.ENOENT, errno.ENOMEM, errno.ENOSPC, errno.ENOTTY,
    errno.EPERM, errno.ETIMEDOUT,
}  # fmt: skip
CANARY = b"\xa5" * 64
# At the borders of what is allowed.
INTERESTING = (0, 1, 2, 3, 4, 7, 0x7F, 0x80, 0xFF)


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


def _fuzz(name: str, buf: int, rounds: int, seed: int) -> set[int]:
    """Returns the errors there were; 0 is success."""
    chance = random.Random(f"{name} {seed}")
    number = getattr(lib, name)
    file, made = CALLS[name](buf)
    sensible = bytes(ffi.buffer(made))
    keep = open_files()
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
            for fd in open_files() - keep:
                os.close(fd)
    with contextlib.suppress(OSError):
        fcntl.lockf(buf, fcntl.LOCK_UN)
    for fd in (open_files() - keep) | {file}:
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


def _fuzz_operations(buf: int, kind: int, rounds: int) -> set[int]:
    """What the argument of a submit points to."""
    chance = random.Random(kind)
    file, made = CALLS["VBLIT_IOC_SUBMIT"](buf)
    op = ffi.new("struct vblit_op *")
    op.op, op.src_fd = kind, -1 if kind == lib.VBLIT_OP_FILL else buf
    if kind == lib.VBLIT_OP_COPY:
        op.length, op.dst.offset = 4096, 4096
    else:
        for rect in (op.dst, op.src)[: 1 if kind == lib.VBLIT_OP_FILL else 2]:
            rect.pitch, rect.bytes_per_pixel, rect.width, rect.height = 64, 4, 8, 8
        op.dst.x = 8
    made.ops = int(ffi.cast("uintptr_t", op))
    sensible = bytes(ffi.buffer(op))
    keep = open_files()
    seen = set()
    for _ in range(rounds):
        data = _mutate(sensible, chance)
        ffi.buffer(op)[:] = data
        try:
            fcntl.ioctl(file, lib.VBLIT_IOC_SUBMIT, ffi.buffer(made))
            error = 0
        except OSError as failure:
            error = failure.errno or -1
            assert error in ERRORS, f"{errno.errorcode[error]} for {data.hex()}"
        seen.add(error)
        assert bytes(ffi.buffer(op)) == data
        for fd in open_files() - keep:
            os.close(fd)
    os.close(file)
    return seen


@pytest.mark.parametrize("name", ["FILL", "COPY", "BLIT"])
def test_any_bytes_of_an_operation(buf: int, name: str) -> None:
    assert {0, errno.EINVAL} <= _fuzz_operations(buf, getattr(lib, f"VBLIT_OP_{name}"), 80)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CALLS)
def test_any_bytes_for_long(buf: int, name: str) -> None:
    assert 0 in _fuzz(name, buf, rounds=20_000, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["FILL", "COPY", "BLIT"])
def test_any_bytes_of_an_operation_for_long(buf: int, name: str) -> None:
    assert 0 in _fuzz_operations(buf, getattr(lib, f"VBLIT_OP_{name}"), 2_000)


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
