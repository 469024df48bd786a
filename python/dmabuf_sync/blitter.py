# SPDX-License-Identifier: MIT
"""Blitter: the 2D DMA engines of the kernel module vblit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ._handle import Handle
from ._system import FileLike, descriptor, ioctl, open_device, unsigned
from ._uapi import ffi, lib
from .job import Job


@dataclass(frozen=True)
class BlitterInfo:
    """Version, capabilities and limits of the module."""

    abi_version: int
    capabilities: int
    """Bit n: operation n (VBLIT_OP_*) is there; VBLIT_CAP_*."""
    max_ops: int
    """Most operations in one job."""
    engines: int
    """Jobs on different buffers that can run at once."""


@dataclass(frozen=True)
class Rect:
    """A rectangle of a picture in a buffer. x, y, width, height are pixels."""

    x: int
    y: int
    width: int
    height: int
    pitch: int
    """Bytes from one row of the picture to the next."""
    bytes_per_pixel: int = 4
    """1 to 4."""
    offset: int = 0
    """Byte of the buffer at which the picture starts."""


@dataclass(frozen=True)
class Fill:
    """Set every pixel of `rect` to `color`."""

    rect: Rect
    color: int
    """Its low bytes_per_pixel bytes are written, the lowest first."""


@dataclass(frozen=True)
class Copy:
    """Copy `length` bytes."""

    src: FileLike
    length: int
    src_offset: int = 0
    dst_offset: int = 0


@dataclass(frozen=True)
class Blit:
    """Copy a rectangle to one of the same size and depth, or transform it on the way."""

    src: FileLike
    src_rect: Rect
    dst_rect: Rect
    scale: bool = False
    """Sizes may differ: dst column c shows src column c * src width // dst width; so for rows."""
    blend: bool = False
    """Source over destination: 4 bytes per pixel, the last is alpha, colour is premultiplied."""


Operation: TypeAlias = Fill | Copy | Blit


class Blitter(Handle):
    """Queues DMA jobs on dma-bufs of any exporter. Threads may share it.

    A job waits for the CPU locks and fences that its buffers have, then it is granted: its fence is
    on all of them. Each call returns once the job is granted, or once it is queued if not `wait`.
    So with `wait`, a thread that holds a CPU lock on one of the buffers waits for itself, until the
    lock is revoked.

    OSError: EINVAL no dma-buf, a rectangle or range that is empty or not in its buffer, source and
    destination overlap; EBADF not open, or the destination is read-only; EMSGSIZE too many
    operations; ENOMEM.
    """

    PATH = "/dev/vblit"
    EDU = "/dev/vblit-edu"
    """QEMU's PCI device edu: slow (0.1 s for each 1 KiB or row), but real DMA."""

    def __init__(self, path: str | None = None) -> None:
        """Open the engines behind PATH, or those behind another node, as EDU."""
        super().__init__(open_device(path or self.PATH, "the kernel module vblit"))

    def close(self) -> None:
        """Close the file descriptor; may be called again.

        Jobs that are not granted yet are taken back, and end with JobFailed (ECANCELED); those that
        are granted go on. So keep the Blitter for as long as its jobs wait.
        """
        super().close()

    def info(self) -> BlitterInfo:
        """Ask the module what it can do."""
        query = ffi.new("struct vblit_query *")
        ioctl(self, lib.VBLIT_IOC_QUERY, query, "query the blitter")
        return BlitterInfo(
            abi_version=query.abi_version,
            capabilities=query.capabilities,
            max_ops=query.max_ops,
            engines=query.engines,
        )

    def fill(
        self,
        dst: FileLike,
        color: int,
        rect: Rect | None = None,
        *,
        bytes_per_pixel: int = 4,
        in_fences: Sequence[FileLike] = (),
        implicit: bool = True,
        wait: bool = True,
    ) -> Job:
        """Set the pixels of `rect` to `color`; without `rect`, all `dst`, a row of pixels.

        See submit() for the other options.
        """
        if rect is None:
            rect = _whole(dst, bytes_per_pixel)
        return self.submit(
            dst, [Fill(rect, color)], in_fences=in_fences, implicit=implicit, wait=wait
        )

    def copy(
        self,
        src: FileLike,
        dst: FileLike,
        length: int | None = None,
        *,
        src_offset: int = 0,
        dst_offset: int = 0,
        in_fences: Sequence[FileLike] = (),
        implicit: bool = True,
        wait: bool = True,
    ) -> Job:
        """Copy `length` bytes, by default all of `src` from `src_offset` on; see submit()."""
        if length is None:
            length = max(_size(src) - src_offset, 0)
        copy = Copy(src, length, src_offset, dst_offset)
        return self.submit(dst, [copy], in_fences=in_fences, implicit=implicit, wait=wait)

    def blit(
        self,
        src: FileLike,
        dst: FileLike,
        src_rect: Rect,
        dst_rect: Rect | None = None,
        *,
        scale: bool = False,
        blend: bool = False,
        in_fences: Sequence[FileLike] = (),
        implicit: bool = True,
        wait: bool = True,
    ) -> Job:
        """Copy a rectangle, by default to the same place in `dst`; see Blit and submit()."""
        blit = Blit(src, src_rect, dst_rect or src_rect, scale=scale, blend=blend)
        return self.submit(dst, [blit], in_fences=in_fences, implicit=implicit, wait=wait)

    def submit(
        self,
        dst: FileLike,
        operations: Sequence[Operation],
        *,
        in_fences: Sequence[FileLike] = (),
        implicit: bool = True,
        wait: bool = True,
    ) -> Job:
        """Queue one job that does all `operations` on `dst`, in their order.

        It runs after `in_fences`, sync_files of anybody, 64 at most. Without `implicit` (explicit
        synchronisation), fences that other drivers left on the buffers are not waited for; jobs and
        CPU locks are. Returns once granted, or once queued if not `wait`; see Blitter.
        """
        ops = ffi.new("struct vblit_op[]", len(operations))
        for op, operation in zip(ops, operations, strict=True):
            _encode(op, operation)
        data = ffi.new("struct vblit_submit *")
        data.ops = int(ffi.cast("uintptr_t", ops))
        data.num_ops = len(operations)
        data.flags = 0 if wait else lib.VBLIT_SUBMIT_NO_WAIT
        data.flags |= 0 if implicit else lib.VBLIT_SUBMIT_NO_IMPLICIT
        fences = ffi.new("int32_t[]", [descriptor(fence) for fence in in_fences])
        data.in_fences = int(ffi.cast("uintptr_t", fences))
        data.num_in_fences = len(fences)
        data.dst_fd = descriptor(dst)
        ioctl(self, lib.VBLIT_IOC_SUBMIT, data, f"submit a job on fd {data.dst_fd}")
        return Job._made(data.job_fd)


def _encode(op: Any, operation: Operation) -> None:
    match operation:
        case Fill(rect, color):
            op.op = lib.VBLIT_OP_FILL
            op.src_fd = -1
            op.color = unsigned(color, 32, "color")
            _encode_rect(op.dst, rect)
        case Copy(src, length, src_offset, dst_offset):
            op.op = lib.VBLIT_OP_COPY
            op.src_fd = descriptor(src)
            op.length = unsigned(length, 64, "length")
            op.src.offset = unsigned(src_offset, 64, "src_offset")
            op.dst.offset = unsigned(dst_offset, 64, "dst_offset")
        case Blit(src, src_rect, dst_rect, scale, blend):
            op.op = lib.VBLIT_OP_BLIT
            op.flags = (lib.VBLIT_OP_SCALE if scale else 0) | (lib.VBLIT_OP_BLEND if blend else 0)
            op.src_fd = descriptor(src)
            _encode_rect(op.src, src_rect)
            _encode_rect(op.dst, dst_rect)
        case _:
            raise TypeError(f"an operation must be Fill, Copy or Blit, not {operation!r}")


def _encode_rect(target: Any, rect: Rect) -> None:
    target.offset = unsigned(rect.offset, 64, "offset")
    for field in ("pitch", "bytes_per_pixel", "x", "y", "width", "height"):
        setattr(target, field, unsigned(getattr(rect, field), 32, field))


def _size(file: FileLike) -> int:
    return os.lseek(descriptor(file), 0, os.SEEK_END)


def _whole(dst: FileLike, bytes_per_pixel: int) -> Rect:
    """All of `dst` as one row, or as rows of 1 GiB if it is larger."""
    if bytes_per_pixel not in (1, 2, 4):
        raise ValueError(f"bytes_per_pixel must be 1, 2 or 4 without a rect, not {bytes_per_pixel}")
    size = _size(dst)
    pitch = min(size, 1 << 30)
    rows = size // pitch if pitch else 0
    if rows * pitch != size:
        raise ValueError(f"{size} bytes are no rectangle; give a rect")
    return Rect(0, 0, pitch // bytes_per_pixel, rows, pitch, bytes_per_pixel)
