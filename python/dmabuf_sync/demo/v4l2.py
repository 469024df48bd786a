# SPDX-License-Identifier: MIT
"""V4L2 devices that fill, or show, other people's dma-bufs.

Only what streaming with ``V4L2_MEMORY_DMABUF`` on a single-planar device needs. Debian 13 packages
no Python binding of V4L2, so the structures of ``linux/videodev2.h`` are spelled out here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
_OUTPUT = 2  # V4L2_BUF_TYPE_VIDEO_OUTPUT
_MEMORY_DMABUF = 4
_FIELD_NONE = 1
_BUF_FLAG_ERROR = 0x40
_CTRL_FLAG_NEXT = 0x80000000

XRGB32 = int.from_bytes(b"XR24", "little")
"""V4L2_PIX_FMT_XBGR32: bytes blue, green, red, unused; 0x00RRGGBB as a little endian number."""

# vivid's own modes: pictures are made by one kernel thread, and nothing else of it is wanted.
_VIVID_OPTIONS = ("n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0", "no_error_inj=1")


class _PixFormat(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32)
        for name in (
            "width", "height", "pixelformat", "field", "bytesperline", "sizeimage",
            "colorspace", "priv", "flags", "ycbcr_enc", "quantization", "xfer_func",
        )
    ]  # fmt: skip


class _FormatUnion(ctypes.Union):
    # The pointer in v4l2_window, another member, gives the union its alignment.
    _fields_ = [("pix", _PixFormat), ("raw", ctypes.c_uint8 * 200), ("_align", ctypes.c_void_p)]


class _Format(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32), ("fmt", _FormatUnion)]


class _RequestBuffers(ctypes.Structure):
    _fields_ = [
        ("count", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint32),
        ("flags_reserved", ctypes.c_uint32),
    ]


class _Timecode(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("time", ctypes.c_uint8 * 4),
        ("userbits", ctypes.c_uint8 * 4),
    ]


class _BufferMemory(ctypes.Union):
    _fields_ = [("fd", ctypes.c_int32), ("userptr", ctypes.c_ulong)]


class _Buffer(ctypes.Structure):
    _fields_ = [
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("bytesused", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("timestamp", ctypes.c_long * 2),
        ("timecode", _Timecode),
        ("sequence", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("m", _BufferMemory),
        ("length", ctypes.c_uint32),
        ("reserved2", ctypes.c_uint32),
        ("request_fd", ctypes.c_int32),
    ]


class _CaptureParm(ctypes.Structure):
    _fields_ = [
        ("capability", ctypes.c_uint32),
        ("capturemode", ctypes.c_uint32),
        ("numerator", ctypes.c_uint32),
        ("denominator", ctypes.c_uint32),
        ("extendedmode", ctypes.c_uint32),
        ("readbuffers", ctypes.c_uint32),
    ]


class _ParmUnion(ctypes.Union):
    _fields_ = [("capture", _CaptureParm), ("raw", ctypes.c_uint8 * 200)]


class _StreamParm(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32), ("parm", _ParmUnion)]


class _QueryControl(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("name", ctypes.c_char * 32),
        ("minimum", ctypes.c_int32),
        ("maximum", ctypes.c_int32),
        ("step", ctypes.c_int32),
        ("default_value", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    ]


class _Control(ctypes.Structure):
    _fields_ = [("id", ctypes.c_uint32), ("value", ctypes.c_int32)]


def _iowr(number: int, struct: type[ctypes.Structure]) -> int:
    return 0xC0000000 | ctypes.sizeof(struct) << 16 | ord("V") << 8 | number


_S_FMT = _iowr(5, _Format)
_REQBUFS = _iowr(8, _RequestBuffers)
_QBUF = _iowr(15, _Buffer)
_DQBUF = _iowr(17, _Buffer)
_STREAMON = 0x40045612
_STREAMOFF = 0x40045613
_S_PARM = _iowr(22, _StreamParm)
_S_CTRL = _iowr(28, _Control)
_QUERYCTRL = _iowr(36, _QueryControl)


@dataclass(frozen=True)
class Captured:
    """A buffer the device is done with: its index and the device's own count of frames."""

    index: int
    sequence: int


class VideoDevice:
    """A V4L2 device in XRGB32; one thread at a time may use it.

    ``width`` and ``height`` are in pixels, ``rate`` is in frames per second, 0 to leave it; the
    attributes of the same names tell what the driver made of them. Errors are OSError as the driver
    gives them.
    """

    _type: ClassVar[int]

    def __init__(
        self, path: str | os.PathLike[str], width: int, height: int, rate: int = 0
    ) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            form = _Format(type=self._type)
            form.fmt.pix = _PixFormat(
                width=width, height=height, pixelformat=XRGB32, field=_FIELD_NONE
            )
            self._ioctl(_S_FMT, form)
            pix = form.fmt.pix
            if pix.pixelformat != XRGB32:
                raise OSError(errno.EINVAL, "the device has no XRGB32", str(path))
            self.rate = self._set_rate(rate) if rate else 0.0
        except BaseException:
            os.close(self._fd)
            raise
        self.width: int = pix.width
        self.height: int = pix.height
        self.pitch: int = pix.bytesperline
        self.size: int = pix.sizeimage

    def _set_rate(self, rate: int) -> float:
        parm = _StreamParm(type=self._type)
        parm.parm.capture = _CaptureParm(numerator=1, denominator=rate)
        self._ioctl(_S_PARM, parm)
        period = parm.parm.capture
        return float(period.denominator / period.numerator)

    def _ioctl(self, request: int, argument: ctypes.Structure) -> None:
        fcntl.ioctl(self._fd, request, argument)

    def fileno(self) -> int:
        """The device's fd: readable (a camera) or writable when a buffer waits in ``dequeue()``."""
        return self._fd

    def set_control(self, name: str, value: int) -> None:
        """Set the control that the driver calls ``name``; KeyError when it has none."""
        query = _QueryControl(id=_CTRL_FLAG_NEXT)
        while True:
            try:
                self._ioctl(_QUERYCTRL, query)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise KeyError(name) from None
                raise
            if query.name == name.encode():
                self._ioctl(_S_CTRL, _Control(id=query.id, value=value))
                return
            query.id |= _CTRL_FLAG_NEXT

    def request_buffers(self, count: int) -> None:
        """Make ``count`` buffer slots, without memory of their own; 0 forgets them."""
        request = _RequestBuffers(count=count, type=self._type, memory=_MEMORY_DMABUF)
        self._ioctl(_REQBUFS, request)
        if request.count < count:
            raise OSError(errno.ENOMEM, f"the device has {request.count} slots, not {count}")

    def queue(self, index: int, fd: int, size: int) -> None:
        """Hand the dma-buf ``fd`` of ``size`` bytes to the device as slot ``index``."""
        buffer = _Buffer(index=index, type=self._type, memory=_MEMORY_DMABUF, length=size)
        buffer.m.fd = fd
        buffer.bytesused = self.size
        buffer.field = _FIELD_NONE
        self._ioctl(_QBUF, buffer)

    def dequeue(self) -> Captured:
        """Take back the oldest buffer that is done with; BlockingIOError if there is none yet."""
        buffer = _Buffer(type=self._type, memory=_MEMORY_DMABUF)
        self._ioctl(_DQBUF, buffer)
        if buffer.flags & _BUF_FLAG_ERROR:
            raise OSError(errno.EIO, f"the device spoiled frame {buffer.sequence}")
        return Captured(buffer.index, buffer.sequence)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Work on queued buffers during the ``with`` block; its end takes back all of them."""
        kind = ctypes.c_int(self._type)
        fcntl.ioctl(self._fd, _STREAMON, kind)
        try:
            yield
        finally:
            fcntl.ioctl(self._fd, _STREAMOFF, kind)

    def close(self) -> None:
        """Close the device, which also stops it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Camera(VideoDevice):
    """A capture device: fills buffers."""

    _type = _CAPTURE


class VideoOutput(VideoDevice):
    """An output device: shows buffers."""

    _type = _OUTPUT


def _vivid_node() -> Path | None:
    for entry in sorted(Path("/sys/class/video4linux").glob("video*")):
        name = (entry / "name").read_text()
        if name.startswith("vivid-") and name.strip().endswith("-vid-cap"):
            return Path("/dev", entry.name)
    return None


def vivid() -> Path:
    """The device node of vivid, the kernel's test camera; loads the module when necessary.

    Raises CalledProcessError when modprobe fails, FileNotFoundError when no node turns up.
    """
    node = _vivid_node()
    if node is None:
        subprocess.run(["modprobe", "vivid", *_VIVID_OPTIONS], check=True)
        node = _vivid_node()
    if node is None:
        raise FileNotFoundError(errno.ENODEV, "vivid has no capture node")
    deadline = time.monotonic() + 5
    while not node.exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # devtmpfs makes the node a moment after sysfs
    return node
