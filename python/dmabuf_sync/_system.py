# SPDX-License-Identifier: MIT
"""System calls on file descriptors, and checks of what is put into their arguments."""

from __future__ import annotations

import errno
import grp
import math
import os
import time
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

from ._uapi import ffi, lib
from .errors import kernel_error

NO_TIMEOUT: int = lib.DMABUF_SYNC_NO_TIMEOUT
MAX_OFFSET = 2**63 - 1

Timeout: TypeAlias = float | timedelta | None
"""Seconds, or None for no limit."""


class HasFileno(Protocol):
    def fileno(self) -> int: ...


FileLike: TypeAlias = int | HasFileno
"""A file descriptor, or what has one."""


def descriptor(file: FileLike) -> int:
    """The file descriptor of `file`."""
    number = file if isinstance(file, int) else _fileno(file)
    if not 0 <= number < 2**31:
        raise ValueError(f"{number} cannot be a file descriptor")
    return number


def _fileno(file: HasFileno) -> int:
    try:
        return file.fileno()
    except AttributeError:
        raise TypeError(f"need a file descriptor or what has fileno(), not {file!r}") from None


def ioctl(file: FileLike, request: int, argument: Any, doing: str) -> int:
    """ioctl(2) with the GIL released; `doing` goes into the message of the OSError.

    Interrupted calls start again (PEP 475); signal handlers run in between, so Ctrl-C gets out.
    """
    while True:
        result = lib.uapi_ioctl(descriptor(file), request, argument)
        if result >= 0:
            return int(result)
        if result != -errno.EINTR:
            raise kernel_error(-result, doing)


def open_device(path: str, module: str) -> int:
    """Open a device node of the kernel module or option `module`."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        error.add_note(f"{path} comes with {module}, which is not loaded or not in this kernel")
        raise
    except PermissionError as error:
        error.add_note(_who_may_open(path))
        raise


def _who_may_open(path: str) -> str:
    node = os.stat(path)
    if not node.st_gid or node.st_mode & 0o060 != 0o060:
        return f"only root may open {path}; dmabuf-sync doctor says how to let a group"
    try:
        group = grp.getgrgid(node.st_gid).gr_name
    except KeyError:
        group = str(node.st_gid)
    return (
        f"{path} is for members of group {group}: usermod -aG {group} USER adds one, who then logs"
        " in anew"
    )


def pidfd_getfd(pid: int, fd: int) -> int:
    """A descriptor of our own, O_CLOEXEC, for what process `pid` has open as `fd`: pidfd_getfd(2).

    ProcessLookupError: no such process; PermissionError: it is not ours to look into (ptrace(2));
    OSError with EBADF: it has no such descriptor.
    """
    process = os.pidfd_open(pid)
    try:
        result = int(lib.uapi_pidfd_getfd(process, fd))
    finally:
        os.close(process)
    if result < 0:
        raise kernel_error(-result, f"take descriptor {fd} of process {pid}")
    return result


def deadline_ns(timeout: Timeout) -> int:
    """`timeout` from now as CLOCK_MONOTONIC nanoseconds, what the kernel's timeouts are."""
    if timeout is None:
        return NO_TIMEOUT
    seconds = _seconds(timeout, "timeout")
    if seconds < 0:
        raise ValueError(f"timeout must not be negative, not {timeout!r}")
    if seconds >= NO_TIMEOUT / 1e9:
        return NO_TIMEOUT
    # Rounded up: never give up early.
    return min(time.monotonic_ns() + math.ceil(seconds * 1e9), NO_TIMEOUT)


def remaining_ms(deadline: int) -> float | None:
    """What is left until `deadline`, None for ever; select.poll() takes up to 24 days."""
    if deadline == NO_TIMEOUT:
        return None
    return min(max(deadline - time.monotonic_ns(), 0) / 1e6, 1e9)


def hold_ms(hold: float | timedelta | None) -> int:
    """A hold time in seconds as the kernel's milliseconds, rounded up; 0, its default, for None."""
    if hold is None:
        return 0
    seconds = _seconds(hold, "hold")
    if not 0 < seconds < 2**32 / 1e3 - 1:
        raise ValueError(f"hold must be seconds, more than 0 and less than 49 days, not {hold!r}")
    return math.ceil(seconds * 1e3)


def _seconds(value: float | timedelta, what: str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be seconds or a timedelta, not {value!r}")
    if math.isnan(value):
        raise ValueError(f"{what} must be a number, not nan")
    return value


def unsigned(value: int, bits: int, what: str) -> int:
    """`value`, which must fit the unsigned field `what` of `bits` bits."""
    if not isinstance(value, int):
        raise TypeError(f"{what} must be an integer, not {value!r}")
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{what} must be at least 0 and less than 2**{bits}, not {value}")
    return value


def byte_range(offset: int, length: int) -> tuple[int, int]:
    """`offset` and `length`, which must be a range of a file."""
    if unsigned(offset, 63, "offset") + unsigned(length, 63, "length") > MAX_OFFSET + 1:
        raise ValueError(f"offset {offset} + length {length} is beyond what a file can have")
    return offset, length


def c_string(text: str, size: int, what: str) -> bytes:
    """`text` in UTF-8, which must fit a char[`size`] with its NUL."""
    encoded = text.encode()
    if len(encoded) >= size or b"\0" in encoded:
        raise ValueError(f"{what} must be at most {size - 1} bytes without NUL, not {text!r}")
    return encoded


def text(chars: Any) -> str:
    """A NUL-terminated char[] of the kernel."""
    return str(ffi.string(chars).decode(errors="replace"))
