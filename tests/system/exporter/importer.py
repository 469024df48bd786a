# SPDX-License-Identifier: MIT
"""vgem as an importer: it maps dma-bufs until it closes them.

Newer kernels' vgem attaches only, and maps when it has a reason to, which is never.
"""

from __future__ import annotations

import fcntl
import os
import struct

import pytest
from buffers import vgem_node
from exporter_calls import RDWR, stats

# uapi/drm/drm.h, uapi/drm/vgem_drm.h
_PRIME_FD_TO_HANDLE = 0xC00C642E
_GEM_CLOSE = 0x40086409
_FENCE_ATTACH = 0xC0106441
_FENCE_SIGNAL = 0x40086442


class Vgem:
    """An open node of vgem. Each maps a buffer of its own accord."""

    def __init__(self) -> None:
        node = vgem_node()
        if node is None:
            pytest.skip("this kernel has no vgem")
        self.fd = os.open(node, RDWR)

    def load(self, buffer: int) -> int:
        """Attach to a dma-buf; returns the handle."""
        request = bytearray(struct.pack("IIi", 0, 0, buffer))
        fcntl.ioctl(self.fd, _PRIME_FD_TO_HANDLE, request)
        return int(struct.unpack("IIi", request)[0])

    def map(self, buffer: int) -> int:
        """load(), where it maps as well."""
        before = stats()["mappings"]
        handle = self.load(buffer)
        if stats()["mappings"] == before:
            pytest.skip("this kernel's vgem does not map what it imports")
        assert stats()["mappings"] == before + 1
        return handle

    def drop(self, handle: int) -> None:
        fcntl.ioctl(self.fd, _GEM_CLOSE, struct.pack("II", handle, 0))

    def fence(self, handle: int) -> int:
        """Put a write fence on the buffer."""
        request = bytearray(struct.pack("IIII", handle, 1, 0, 0))
        fcntl.ioctl(self.fd, _FENCE_ATTACH, request)
        return int(struct.unpack("IIII", request)[2])

    def signal(self, fence: int) -> None:
        fcntl.ioctl(self.fd, _FENCE_SIGNAL, struct.pack("II", fence, 0))
