# SPDX-License-Identifier: MIT
"""What the engine should do, worked out by numpy; and its ioctl without the library."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dmabuf_sync import Access, Blit, Blitter, Copy, DmaBuf, Fill, Operation, Rect
from dmabuf_sync._uapi import ffi, lib

PARAMETERS = "/sys/module/vblit/parameters"
PATIENCE = 50.0
"""Seconds after which a job that should be done is taken never to be."""


@dataclass(frozen=True)
class Device:
    """A back-end of the engine, and how much of it one test can ask."""

    name: str
    size: int
    """Bytes of a buffer."""
    rows: int
    """Of a picture."""
    times: int
    """How often to do what is to be done often."""

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    def row(self, bytes_per_pixel: int = 4) -> Rect:
        """All of a buffer."""
        return Rect(0, 0, self.size // bytes_per_pixel, 1, self.size, bytes_per_pixel)


SOFT = Device("vblit", 65536, rows=70, times=30)
# QEMU's PCI device needs a tenth of a second for each transfer, and two for 2 KiB or a row.
EDU = Device("vblit-edu", 8192, rows=4, times=3)

# How a test says on which of the two it runs; without saying so on both, on edu as a slow test.
on_both = pytest.mark.parametrize("device", [SOFT, EDU], indirect=True, ids=lambda each: each.name)


def not_on_edu(reason: str) -> pytest.MarkDecorator:
    """Run on vblit only."""
    skip = (pytest.mark.slow, pytest.mark.skip(reason=f"vblit-edu: {reason}"))
    devices = [SOFT, pytest.param(EDU, marks=skip)]
    return pytest.mark.parametrize("device", devices, indirect=True, ids=lambda each: each.name)


Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def noise(seed: int, length: int) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, length, np.uint8)


def write(buffer: DmaBuf, data: Bytes) -> None:
    """Put `data` at the start of a buffer, as the CPU."""
    with buffer.locked(Access.WRITE), buffer.map(length=len(data)) as memory:
        np.frombuffer(memory, np.uint8)[:] = data


def read(buffer: DmaBuf | int, length: int | None = None) -> Bytes:
    """What the CPU sees at the start of a buffer, or in all of it.

    For a number, gives up this process's locks.
    """
    if isinstance(buffer, int):
        with DmaBuf(os.dup(buffer)) as again:
            return read(again, length)
    length = buffer.size if length is None else length
    with buffer.locked(Access.READ), buffer.map(Access.READ, length=length) as memory:
        return np.frombuffer(memory, np.uint8).copy()


def span(rect: Rect) -> tuple[int, int]:
    """The first byte that a rectangle touches, and the one behind the last."""
    bpp = rect.bytes_per_pixel
    start = rect.offset + rect.y * rect.pitch + rect.x * bpp
    return start, start + (rect.height - 1) * rect.pitch + rect.width * bpp


def rows(rect: Rect) -> np.ndarray[Any, Any]:
    """The bytes that a rectangle touches, as indices: one line for each row."""
    starts = span(rect)[0] + np.arange(rect.height) * rect.pitch
    return starts[:, None] + np.arange(rect.width * rect.bytes_per_pixel)


def apply(operation: Operation, contents: dict[int, Bytes], dst: int) -> None:
    """Do to `contents`, bytes by file descriptor, what the engine does to the buffers."""
    match operation:
        case Fill(rect, color):
            pixel = np.frombuffer(color.to_bytes(4, "little")[: rect.bytes_per_pixel], np.uint8)
            contents[dst][rows(rect)] = np.tile(pixel, rect.width)
        case Copy(DmaBuf() as src, length, src_offset, dst_offset):
            part = contents[src.fileno()][src_offset : src_offset + length]
            contents[dst][dst_offset : dst_offset + length] = part
        case Blit(DmaBuf() as src, src_rect, dst_rect, _, blend):
            pixels = contents[src.fileno()][nearest(src_rect, dst_rect)]
            if blend:
                pixels = over(pixels, contents[dst][rows(dst_rect)])
            contents[dst][rows(dst_rect)] = pixels


def nearest(src: Rect, dst: Rect) -> np.ndarray[Any, Any]:
    """For each byte of `dst`, as rows() has them, the byte of `src` that it shows."""
    row = np.arange(dst.height) * src.height // dst.height
    column = np.arange(dst.width) * src.width // dst.width
    pixels = rows(src)[row].reshape(dst.height, src.width, src.bytes_per_pixel)
    return pixels[:, column].reshape(dst.height, -1)


def over(src: Bytes, dst: Bytes) -> Bytes:
    """Source over destination; premultiplied, alpha is the last of four bytes."""
    alpha = np.repeat(src.reshape(src.shape[0], -1, 4)[:, :, 3], 4, axis=1).astype(int)
    mixed = src + np.rint(dst * (255 - alpha) / 255).astype(int)
    return np.minimum(mixed, 255).astype(np.uint8)


def submit(blitter: Blitter, ops: list[dict[str, int]], /, **fields: int) -> int:
    """SUBMIT as it is, with fields like dst__pitch set; returns 0 or the errno."""
    array = ffi.new("struct vblit_op[]", max(len(ops), 1))
    for op, values in zip(array, ops, strict=False):
        op.src_fd = -1
        for name, value in values.items():
            target, _, field = name.rpartition("__")
            setattr(getattr(op, target) if target else op, field, value)
    request = ffi.new("struct vblit_submit *")
    request.ops = int(ffi.cast("uintptr_t", array))
    request.num_ops = len(ops)
    for name, value in fields.items():
        setattr(request, name, value)
    error = -int(lib.uapi_ioctl(blitter.fileno(), lib.VBLIT_IOC_SUBMIT, request))
    if not error:
        os.close(request.job_fd)
    return error
