# SPDX-License-Identifier: MIT
"""Job: a DMA job that a driver has queued with dmabuf_sync."""

from __future__ import annotations

import enum
import errno
import select
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from ._asyncio import ready
from ._handle import Handle, poll
from ._system import Timeout, deadline_ns, ioctl
from ._uapi import ffi, lib
from .errors import JobFailed, kernel_error
from .sync_file import SyncFile


class JobState(enum.IntEnum):
    """How far a job is; a later state is a larger number."""

    QUEUED = lib.DMABUF_SYNC_JOB_QUEUED
    """Waits for CPU locks."""
    GRANTED = lib.DMABUF_SYNC_JOB_GRANTED
    """Its fence is on its buffers; waits for the fences before it."""
    RUNNING = lib.DMABUF_SYNC_JOB_RUNNING
    DONE = lib.DMABUF_SYNC_JOB_DONE
    """Its fence has signalled and its buffers are free."""


@dataclass(frozen=True)
class JobInfo:
    """A job at one moment. Times are CLOCK_MONOTONIC nanoseconds, 0 for what is still to come."""

    state: JobState
    status: int
    """0, or the negative errno it ended with."""
    queued_ns: int
    granted_ns: int
    started_ns: int
    done_ns: int


class Job(Handle):
    """A DMA job; takes the job's file descriptor over. Threads may share it.

    Closing it does not stop the job; closing its Blitter does, until it is granted. poll() on it:
    writable once granted, readable once done. ``await job`` is wait() for asyncio.
    """

    def __init__(self, fd: int) -> None:
        """Take over `fd`; OSError (ENOTTY no job, EBADF not open) leaves it alone."""
        info = ffi.new("struct dmabuf_sync_job_info *")
        ioctl(fd, lib.DMABUF_SYNC_IOC_JOB_INFO, info, f"fd {fd} is not a job")
        super().__init__(fd)

    def info(self) -> JobInfo:
        """How far it is now."""
        info = ffi.new("struct dmabuf_sync_job_info *")
        ioctl(self, lib.DMABUF_SYNC_IOC_JOB_INFO, info, "ask about a job")
        return JobInfo(
            state=JobState(info.state),
            status=info.status,
            queued_ns=info.queued_ns,
            granted_ns=info.granted_ns,
            started_ns=info.started_ns,
            done_ns=info.done_ns,
        )

    @property
    def granted(self) -> bool:
        """Whether its fence is on its buffers (or it is done)."""
        return self.info().state >= JobState.GRANTED

    @property
    def done(self) -> bool:
        """Whether it has ended, well or badly: see status."""
        return self.info().state is JobState.DONE

    @property
    def status(self) -> int:
        """0, or the negative errno it ended with."""
        return self.info().status

    def wait(self, timeout: Timeout = None) -> None:
        """Wait until it is done; TimeoutError if that takes longer than `timeout` seconds.

        JobFailed when it ended with an error. A thread that holds a CPU lock (lock(), Sync) on one
        of its buffers and waits here for a job that was queued after that waits for itself.
        """
        if not poll(self, select.POLLIN, deadline_ns(timeout)):
            raise kernel_error(errno.ETIMEDOUT, "wait for a job")
        self._check()

    def wait_granted(self, timeout: Timeout = None) -> None:
        """Wait until it is granted: from then on it has a sync_file().

        TimeoutError if that takes longer than `timeout` seconds.
        """
        if not poll(self, select.POLLOUT, deadline_ns(timeout)):
            raise kernel_error(errno.ETIMEDOUT, "wait for a job to be granted")

    async def wait_granted_async(self) -> None:
        """wait_granted() for asyncio."""
        await ready(self, select.POLLOUT)

    def sync_file(self) -> SyncFile:
        """Its fence. BlockingIOError before it is granted: a fence must not wait for a CPU lock."""
        data = ffi.new("struct dmabuf_sync_job_sync_file *")
        ioctl(self, lib.DMABUF_SYNC_IOC_JOB_SYNC_FILE, data, "get the fence of a job")
        return SyncFile._made(data.fd)

    def __await__(self) -> Generator[Any, None, None]:
        """wait() for asyncio. Cancelling ends the wait, not the job."""
        return self._wait_async().__await__()

    async def _wait_async(self) -> None:
        await ready(self, select.POLLIN)
        self._check()

    def _check(self) -> None:
        status = self.status
        if status:
            message = kernel_error(-status, "the job failed").strerror
            raise JobFailed(-status, message)
