# SPDX-License-Identifier: MIT
"""dma-bufs of every exporter that the guest's kernel has, as plain file descriptors."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import struct
import subprocess
from functools import cache
from pathlib import Path

from dmabuf_sync import Exporter, Heap, Udmabuf
from dmabuf_sync._uapi import ffi, lib

EXPORTERS = ["vdmabuf", "heap", "udmabuf", "vgem", "vivid"]
ARM64 = os.uname().machine == "aarch64"
# arm64 has little room for that unless it is told how much.
BOUNCING = bool(re.search(r"\bswiotlb=(\S+,)?force\b", Path("/proc/cmdline").read_text()))
"""Do devices work on copies of the memory?"""
COHERENT = ("vdmabuf", "heap")
"""Exporters that keep these copies in step."""

# drm.h and drm_mode.h, for dumb buffers of vgem
_DRM_MODE_CREATE_DUMB = 0xC02064B2
_DRM_PRIME_HANDLE_TO_FD = 0xC00C642D
_DRM_GEM_CLOSE = 0x40086409
_DRM_RDWR_CLOEXEC = os.O_RDWR | os.O_CLOEXEC


def _vdmabuf(size: int) -> int:
    with Exporter() as exporter, exporter.allocate(size, name="test") as buffer:
        return fcntl.fcntl(buffer.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)


def _heap(size: int) -> int:
    with Heap("system") as heap, heap.allocate(size) as buffer:
        return fcntl.fcntl(buffer.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)


def _udmabuf(size: int) -> int:
    with Udmabuf() as udmabuf, udmabuf.allocate(size) as buffer:
        return fcntl.fcntl(buffer.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)


@cache
def vgem_node() -> str | None:
    """The card node of vgem; loads the module."""
    subprocess.run(["modprobe", "vgem"], check=False, capture_output=True)
    for path in glob.glob("/sys/class/drm/card*/device/driver"):
        if os.path.basename(os.readlink(path)) == "vgem":
            return "/dev/dri/" + path.split("/")[4]
    for path in glob.glob("/sys/devices/faux/vgem/drm/card*"):
        return "/dev/dri/" + os.path.basename(path)
    for path in glob.glob("/sys/devices/platform/vgem/drm/card*"):
        return "/dev/dri/" + os.path.basename(path)
    return None


def vgem_export(card: int, size: int) -> tuple[int, int]:
    """A dumb buffer of an open vgem node: (its handle, a dma-buf of it)."""
    create = bytearray(struct.pack("IIIIIIQ", size // 4096, 1024, 32, 0, 0, 0, 0))
    fcntl.ioctl(card, _DRM_MODE_CREATE_DUMB, create)
    handle = struct.unpack("IIIIIIQ", create)[4]
    prime = bytearray(struct.pack("IIi", handle, _DRM_RDWR_CLOEXEC, -1))
    fcntl.ioctl(card, _DRM_PRIME_HANDLE_TO_FD, prime)
    return handle, struct.unpack("IIi", prime)[2]


def _vgem(size: int) -> int:
    node = vgem_node()
    assert node is not None
    card = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    try:
        return vgem_export(card, size)[1]
    finally:
        os.close(card)


@cache
def vivid_node() -> str | None:
    """The capture node of vivid; loads the module."""
    subprocess.run(["modprobe", "vivid"], check=False, capture_output=True)
    for path in sorted(glob.glob("/sys/class/video4linux/video*/name")):
        with open(path) as file:
            if file.read().strip().endswith("vid-cap"):
                return "/dev/" + path.split("/")[4]
    return None


def _vivid(size: int) -> int:
    """A V4L2 capture buffer (of the driver's own size) exported with VIDIOC_EXPBUF."""
    node = vivid_node()
    assert node is not None
    video = os.open(node, os.O_RDWR | os.O_CLOEXEC)
    try:
        # struct v4l2_requestbuffers: count, type (capture), memory (mmap), ...
        fcntl.ioctl(video, 0xC0145608, bytearray(struct.pack("IIIIBxxx", 1, 1, 1, 0, 0)))
        # struct v4l2_exportbuffer: type, index, plane, flags, fd, reserved[11]
        export = bytearray(struct.pack("IIIIi44x", 1, 0, 0, os.O_RDWR | os.O_CLOEXEC, -1))
        fcntl.ioctl(video, 0xC0405610, export)
        return struct.unpack("IIIIi44x", export)[4]
    finally:
        os.close(video)


def allocate_readonly(size: int) -> int:
    """A dma-buf of our own exporter whose descriptor is O_RDONLY."""
    request = ffi.new("struct vdmabuf_alloc *")
    request.size = size
    request.fd_flags = os.O_RDONLY | os.O_CLOEXEC
    with open("/dev/vdmabuf", "rb", buffering=0) as device:
        fcntl.ioctl(device, lib.VDMABUF_IOC_ALLOC, ffi.buffer(request))
    return int(request.fd)


_ALLOCATE = {
    "vdmabuf": _vdmabuf,
    "heap": _heap,
    "udmabuf": _udmabuf,
    "vgem": _vgem,
    "vivid": _vivid,
}


def available(exporter: str) -> bool:
    """Does this kernel have it?"""
    if exporter == "heap":
        return os.path.exists("/dev/dma_heap/system")
    if exporter == "udmabuf":
        return os.path.exists("/dev/udmabuf")
    if exporter == "vgem":
        return vgem_node() is not None
    if exporter == "vivid":
        return vivid_node() is not None
    return os.path.exists("/dev/vdmabuf")


def allocate(exporter: str, size: int) -> int:
    """A dma-buf of at least `size` bytes; the caller closes it."""
    return _ALLOCATE[exporter](size)
