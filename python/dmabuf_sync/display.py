# SPDX-License-Identifier: MIT
"""Display: the virtual scan-out /dev/vdisplay of the kernel module vdisplay."""

from __future__ import annotations

import enum
import os
import select
from dataclasses import dataclass

from ._asyncio import ready
from ._handle import Handle, poll
from ._system import FileLike, Timeout, deadline_ns, descriptor, ioctl, open_device, unsigned
from ._uapi import ffi, lib


class DisplayEventType(enum.IntEnum):
    """What a display tells."""

    FLIP = lib.VDISPLAY_EVENT_FLIP
    """A buffer is shown from this frame on."""
    FRAME = lib.VDISPLAY_EVENT_FRAME
    """A frame was read to its end."""
    RELEASE = lib.VDISPLAY_EVENT_RELEASE
    """A buffer is given back."""


@dataclass(frozen=True)
class DisplayEvent:
    """One event."""

    type: DisplayEventType
    crc: int
    """FRAME: zlib.crc32() of the bytes as they were read."""
    sequence: int
    """Number of the frame."""
    time_ns: int
    """CLOCK_MONOTONIC nanoseconds."""
    user_data: int
    """As given to flip() with the buffer."""
    lost: int
    """Events that nobody read in time, since the display was opened."""


class Display(Handle):
    """Shows one dma-buf at a time, under a DMA read lock. One thread may flip, another one read.

    It reads the buffer once in every frame, from first byte to last over the length of the frame.
    poll() on it: readable when there are events, writable when no flip is pending.
    """

    PATH = "/dev/vdisplay"

    def __init__(self) -> None:
        super().__init__(open_device(self.PATH, "the kernel module vdisplay"))

    def flip(
        self,
        buffer: FileLike | None,
        *,
        offset: int = 0,
        length: int | None = None,
        user_data: int = 0,
        period_us: int = 0,
        blocking: bool = True,
    ) -> None:
        """Lock `buffer`, and show `length` bytes of it from the next frame on; None for nothing.

        `blocking`, it waits for CPU locks, also for the caller's own WRITE lock until that is
        revoked. `period_us` is the length of a frame in microseconds, 0 to leave it.

        OSError: EBUSY another flip is pending; EAGAIN not `blocking`, and it is in use; EBADF it
        cannot be read; EINVAL no dma-buf, range outside it.
        """
        if buffer is None:
            fd, length = -1, 0
        else:
            fd = descriptor(buffer)
            if length is None:
                length = max(os.lseek(fd, 0, os.SEEK_END) - offset, 0)
        data = ffi.new("struct vdisplay_flip *")
        data.fd = fd
        data.flags = 0 if blocking else lib.VDISPLAY_FLIP_NONBLOCK
        data.offset = unsigned(offset, 64, "offset")
        data.length = unsigned(length, 64, "length")
        data.user_data = unsigned(user_data, 64, "user_data")
        data.period_us = unsigned(period_us, 32, "period_us")
        ioctl(self, lib.VDISPLAY_IOC_FLIP, data, f"show fd {fd}")

    def events(self, timeout: Timeout = None) -> list[DisplayEvent]:
        """Wait for events, at most `timeout` seconds; none if the time is over."""
        if not poll(self, select.POLLIN, deadline_ns(timeout)):
            return []
        return self._read()

    async def events_async(self) -> list[DisplayEvent]:
        """Wait for events, for asyncio."""
        await ready(self, select.POLLIN)
        return self._read()

    def _read(self) -> list[DisplayEvent]:
        size = ffi.sizeof("struct vdisplay_event")
        data = os.read(self.fileno(), size * lib.VDISPLAY_EVENTS)
        events = ffi.new("struct vdisplay_event[]", len(data) // size)
        ffi.buffer(events)[:] = data
        return [
            DisplayEvent(
                type=DisplayEventType(event.type),
                crc=event.crc,
                sequence=event.sequence,
                time_ns=event.time_ns,
                user_data=event.user_data,
                lost=event.lost,
            )
            for event in events
        ]
