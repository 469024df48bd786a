# SPDX-License-Identifier: MIT
"""DmaDevice: a device with any limits, from the module dsync_importer in tests/module."""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass

_CALL = struct.Struct("Ii3Q4Q")
_NUMBER = 3 << 30 | _CALL.size << 16 | 0xA8 << 8 | 0xE8
_SETUP, _ATTACH, _DETACH, _MAP, _UNMAP, _START, _END, _POKE, _PEEK = range(9)

BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE = range(3)


def bits(count: int) -> int:
    return (1 << count) - 1


@dataclass(frozen=True)
class Mapped:
    """What a mapping is like. Lengths are bytes."""

    segments: int
    longest: int
    last_address: int
    first_address: int


class DmaDevice:
    """A device that attaches to one buffer at a time and does as it is told."""

    def __init__(
        self, mask: int = bits(64), segment: int = bits(32) & ~0xFFF, boundary: int = bits(32)
    ) -> None:
        self.fd = os.open("/dev/dsync_importer", os.O_RDWR | os.O_CLOEXEC)
        self._call(_SETUP, args=(mask, segment, boundary))

    def _call(
        self, op: int, fd: int = -1, args: tuple[int, ...] = ()
    ) -> tuple[int, int, int, int]:
        data = bytearray(_CALL.pack(op, fd, *args, *(0,) * (3 - len(args)), 0, 0, 0, 0))
        fcntl.ioctl(self.fd, _NUMBER, data)
        return _CALL.unpack(data)[-4:]

    def attach(self, buffer: int) -> None:
        self._call(_ATTACH, buffer)

    def detach(self) -> None:
        self._call(_DETACH)

    def map(self, direction: int = BIDIRECTIONAL) -> Mapped:
        return Mapped(*self._call(_MAP, args=(direction,)))

    def unmap(self) -> None:
        self._call(_UNMAP)

    def start_dma(self, direction: int = BIDIRECTIONAL) -> None:
        """dma_buf_attachment_start_dma()."""
        self._call(_START, args=(direction,))

    def end_dma(self) -> None:
        self._call(_END)

    def write(self, offset: int, length: int, byte: int) -> None:
        """What the device would do by DMA."""
        self._call(_POKE, args=(offset, length, byte))

    def read(self, offset: int) -> int:
        return self._call(_PEEK, args=(offset,))[0]

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
