# SPDX-License-Identifier: MIT
"""SyncFile: DMA fences as a file descriptor (linux/sync_file.h). Needs none of our modules."""

from __future__ import annotations

import errno
import select
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from ._asyncio import ready
from ._handle import Handle, poll
from ._system import FileLike, Timeout, c_string, deadline_ns, descriptor, ioctl, text
from ._uapi import ffi, lib
from .errors import kernel_error


@dataclass(frozen=True)
class FenceInfo:
    """One fence of a sync_file."""

    timeline: str
    driver: str
    status: int
    """1 signalled, 0 active, else the negative errno it was signalled with."""
    timestamp_ns: int
    """CLOCK_MONOTONIC time at which it signalled, 0 before."""


@dataclass(frozen=True)
class SyncFileInfo:
    """A sync_file and its fences at one moment."""

    name: str
    status: int
    """1 all signalled, 0 some active, else the negative errno of one that failed."""
    fences: tuple[FenceInfo, ...]


class SyncFile(Handle):
    """A sync_file; takes the file descriptor over. Threads may share it.

    poll() on it: readable once all fences have signalled. ``await`` waits for the same.
    """

    def __init__(self, fd: int) -> None:
        """Take over `fd`; OSError (ENOTTY no sync_file, EBADF not open) leaves it alone."""
        # Room for no fence: it only counts them.
        info = ffi.new("struct sync_file_info *")
        ioctl(fd, lib.SYNC_IOC_FILE_INFO, info, f"fd {fd} is not a sync_file")
        super().__init__(fd)

    def info(self) -> SyncFileInfo:
        """What the kernel says about it now."""
        info = ffi.new("struct sync_file_info *")
        while True:
            fences = ffi.new("struct sync_fence_info[]", info.num_fences)
            room = info.num_fences
            info.sync_fence_info = int(ffi.cast("uintptr_t", fences)) if room else 0
            try:
                ioctl(self, lib.SYNC_IOC_FILE_INFO, info, "ask about a sync_file")
            except OSError as error:
                # EINVAL: more fences than there was room for.
                if not room or error.errno != errno.EINVAL:
                    raise
                info.num_fences = 0
                continue
            if room or not info.num_fences:
                break
        return SyncFileInfo(
            name=text(info.name),
            status=info.status,
            fences=tuple(
                FenceInfo(
                    timeline=text(fence.obj_name),
                    driver=text(fence.driver_name),
                    status=fence.status,
                    timestamp_ns=fence.timestamp_ns,
                )
                for fence in fences[0 : info.num_fences]
            ),
        )

    def merge(self, other: FileLike, name: str = "dmabuf-sync") -> SyncFile:
        """A new sync_file with the fences of both; `other` is one too.

        `name`, 31 bytes at most, is what info() of it says. Both old ones stay as they are.
        """
        data = ffi.new("struct sync_merge_data *")
        data.name = c_string(name, ffi.sizeof(data.name), "name")
        data.fd2 = descriptor(other)
        ioctl(self, lib.SYNC_IOC_MERGE, data, "merge sync_files")
        return SyncFile._made(data.fence)

    def wait(self, timeout: Timeout = None) -> None:
        """Wait until all fences have signalled; TimeoutError if `timeout` seconds were too few.

        A fence that signalled with an error has signalled: see the status in :meth:`info`.
        """
        if not poll(self, select.POLLIN, deadline_ns(timeout)):
            raise kernel_error(errno.ETIMEDOUT, "wait for a sync_file")

    def __await__(self) -> Generator[Any, None, None]:
        """wait() for asyncio."""
        return ready(self, select.POLLIN).__await__()
