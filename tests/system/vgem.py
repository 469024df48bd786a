# SPDX-License-Identifier: MIT
"""vgem as a foreign driver with implicit fences: buffers, and fences on them at will."""

from __future__ import annotations

import fcntl
import os
import struct

from buffers import vgem_export, vgem_node

from dmabuf_sync import DmaBuf

# uapi/drm/vgem_drm.h
_FENCE_ATTACH = 0xC0106441
_FENCE_SIGNAL = 0x40086442
_WRITE = 1


class VgemBuffer:
    """A dumb buffer of vgem and a dma-buf of it."""

    def __init__(self, size: int = 65536) -> None:
        node = vgem_node()
        assert node is not None
        self.card = os.open(node, os.O_RDWR | os.O_CLOEXEC)
        self.handle, self.fd = vgem_export(self.card, size)
        self.dmabuf = DmaBuf(self.fd)

    def attach(self, write: bool) -> int:
        """Put a fence on the buffer; EBUSY if there is a conflicting one. It expires after 10 s."""
        request = bytearray(struct.pack("IIII", self.handle, _WRITE if write else 0, 0, 0))
        fcntl.ioctl(self.card, _FENCE_ATTACH, request)
        return int(struct.unpack("IIII", request)[2])

    def signal(self, fence: int) -> None:
        fcntl.ioctl(self.card, _FENCE_SIGNAL, struct.pack("II", fence, 0))

    def close(self) -> None:
        self.dmabuf.close()
        os.close(self.card)
