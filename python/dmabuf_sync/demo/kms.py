# SPDX-License-Identifier: MIT
"""A display of a KMS driver (DRM's mode setting), and frames for it that are locked while shown.

Only what flipping between dumb buffers needs. Debian 13 packages no Python binding of libdrm, so
the structures of ``drm/drm_mode.h`` are spelled out here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from .. import Access, DmaBuf, Sync
from .draw import Pixels

_FLIP_EVENT = 1  # DRM_MODE_PAGE_FLIP_EVENT
_FLIP_COMPLETE = 2  # DRM_EVENT_FLIP_COMPLETE
_RDWR_CLOEXEC = os.O_RDWR | os.O_CLOEXEC

u16, u32, u64 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
_Fields = list[tuple[str, type]]


def members(kind: type, names: str) -> _Fields:
    """Fields of one type, for a structure."""
    return [(name, kind) for name in names.split()]


class _Version(ctypes.Structure):
    _fields_ = [
        *members(ctypes.c_int, "major minor patch"),
        ("name_len", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("date_len", ctypes.c_size_t),
        ("date", ctypes.c_char_p),
        ("desc_len", ctypes.c_size_t),
        ("desc", ctypes.c_char_p),
    ]


class _Resources(ctypes.Structure):
    _fields_ = [
        *members(u64, "fbs crtcs connectors encoders"),
        *members(u32, "count_fbs count_crtcs count_connectors count_encoders"),
        *members(u32, "min_width max_width min_height max_height"),
    ]


class _Mode(ctypes.Structure):
    _fields_ = [
        ("clock", u32),
        *members(u16, "hdisplay hsync_start hsync_end htotal hskew"),
        *members(u16, "vdisplay vsync_start vsync_end vtotal vscan"),
        *members(u32, "vrefresh flags type"),
        ("name", ctypes.c_char * 32),
    ]


class _Connector(ctypes.Structure):
    _fields_ = [
        *members(u64, "encoders modes props prop_values"),
        *members(u32, "count_modes count_props count_encoders"),
        *members(u32, "encoder_id connector_id connector_type connector_type_id"),
        *members(u32, "connection mm_width mm_height subpixel pad"),
    ]


class _Crtc(ctypes.Structure):
    _fields_ = [
        ("connectors", u64),
        *members(u32, "count_connectors crtc_id fb_id x y gamma_size mode_valid"),
        ("mode", _Mode),
    ]


class _CreateDumb(ctypes.Structure):
    _fields_ = [*members(u32, "height width bpp flags handle pitch"), ("size", u64)]


class _Framebuffer(ctypes.Structure):
    _fields_ = members(u32, "fb_id width height pitch bpp depth handle")


class _Prime(ctypes.Structure):
    _fields_ = [*members(u32, "handle flags"), ("fd", ctypes.c_int32)]


class _PageFlip(ctypes.Structure):
    _fields_ = [*members(u32, "crtc_id fb_id flags reserved"), ("user_data", u64)]


class _Event(ctypes.Structure):
    _fields_ = [
        *members(u32, "type length"),
        ("user_data", u64),
        *members(u32, "tv_sec tv_usec sequence crtc_id"),
    ]


def iowr(number: int, struct: type) -> int:
    """The number of an ioctl of DRM that reads and writes this structure."""
    return 0xC0000000 | ctypes.sizeof(struct) << 16 | ord("d") << 8 | number


_VERSION = iowr(0x00, _Version)
_PRIME_HANDLE_TO_FD = iowr(0x2D, _Prime)
_GETRESOURCES = iowr(0xA0, _Resources)
_SETCRTC = iowr(0xA2, _Crtc)
_GETCONNECTOR = iowr(0xA7, _Connector)
_ADDFB = iowr(0xAE, _Framebuffer)
_RMFB = iowr(0xAF, u32)
_PAGE_FLIP = iowr(0xB0, _PageFlip)
_CREATE_DUMB = iowr(0xB2, _CreateDumb)
_DESTROY_DUMB = iowr(0xB4, u32)


class Frame:
    """A dumb buffer of the display, exported as a dma-buf: the CPU locks it by fcntl to draw."""

    def __init__(self, buffer: DmaBuf, framebuffer: int, pitch: int, size: tuple[int, int]) -> None:
        self.buffer = buffer
        """The dma-buf. Whoever is to draw needs nothing else."""
        self.framebuffer = framebuffer
        """The driver's number for it."""
        self.pitch = pitch
        """Bytes from one row to the next."""
        self._size = size
        self.shown = Sync("shown")
        """Locked as long as the display reads the frame."""
        self.shown.add(buffer, Access.READ | Access.DMA)

    def draw(self, paint: Callable[[Pixels], object], *, timeout: float | None = None) -> None:
        """Lock the frame for this process and let ``paint`` change its pixels, 0x00RRGGBB each."""
        with self.buffer.locked(Access.WRITE, timeout=timeout), self.buffer.map() as memory:
            width, height = self._size
            pixels = np.frombuffer(memory, np.uint32, self.pitch // 4 * height)
            paint(pixels.reshape(height, -1)[:, :width])


class Card:
    """A display: its first connector, in the first mode of ``width`` by ``height`` pixels.

    One thread at a time may use it. Errors are OSError as the driver gives them. Closing it
    switches the display off and frees its frames.
    """

    def __init__(self, path: str | os.PathLike[str], width: int = 640, height: int = 480) -> None:
        self.width = width
        self.height = height
        self._front: Frame | None = None
        self._next: Frame | None = None
        with ExitStack() as stack:
            self._fd = os.open(path, _RDWR_CLOEXEC)
            stack.callback(os.close, self._fd)
            self._crtc, self._connector, self._mode = self._find(width, height)
            self._stack = stack.pop_all()

    def _find(self, width: int, height: int) -> tuple[int, int, _Mode]:
        crtcs, connectors = (u32 * 1)(), (u32 * 1)()
        found = _Resources(
            count_crtcs=1,
            crtcs=ctypes.addressof(crtcs),
            count_connectors=1,
            connectors=ctypes.addressof(connectors),
        )
        self._ioctl(_GETRESOURCES, found)
        # Asked without room for modes, the driver first looks what is connected.
        connector = _Connector(connector_id=connectors[0])
        self._ioctl(_GETCONNECTOR, connector)
        modes = (_Mode * connector.count_modes)()
        connector = _Connector(
            connector_id=connectors[0],
            count_modes=len(modes),
            modes=ctypes.addressof(modes),
        )
        self._ioctl(_GETCONNECTOR, connector)
        for mode in modes:
            if (mode.hdisplay, mode.vdisplay) == (width, height):
                return crtcs[0], connectors[0], mode
        raise OSError(errno.EINVAL, f"the display has no mode of {width}x{height} pixels")

    def _ioctl(self, request: int, argument: object) -> None:
        fcntl.ioctl(self._fd, request, argument)  # type: ignore[call-overload]

    def fileno(self) -> int:
        """The device's fd: readable when a flip is complete."""
        return self._fd

    def frame(self) -> Frame:
        """A new frame, freed with the card. OSError: ENOSYS the driver exports no buffers."""
        dumb = _CreateDumb(width=self.width, height=self.height, bpp=32)
        with ExitStack() as stack:
            self._ioctl(_CREATE_DUMB, dumb)
            stack.callback(self._ioctl, _DESTROY_DUMB, u32(dumb.handle))
            fb = _Framebuffer(
                width=self.width,
                height=self.height,
                pitch=dumb.pitch,
                bpp=32,
                depth=24,
                handle=dumb.handle,
            )
            self._ioctl(_ADDFB, fb)
            stack.callback(self._ioctl, _RMFB, u32(fb.fb_id))
            prime = _Prime(handle=dumb.handle, flags=_RDWR_CLOEXEC, fd=-1)
            self._ioctl(_PRIME_HANDLE_TO_FD, prime)
            buffer = stack.enter_context(DmaBuf(prime.fd))
            frame = Frame(buffer, fb.fb_id, dumb.pitch, (self.width, self.height))
            stack.enter_context(frame.shown)
            self._stack.push(stack.pop_all())
        return frame

    def flip(
        self, frame: Frame, *, timeout: float | None = None, hold: float | None = None
    ) -> None:
        """Lock ``frame`` for the display and have it shown; complete() when it is.

        It stays locked until another one has taken its place; as every lock of a process, it can be
        revoked after ``hold`` seconds. The first flip also switches the display on. OSError: EBUSY
        the flip before is not complete, or the frame is shown already; see also Sync.lock().
        """
        self._begin(frame, lambda: frame.shown.lock(timeout=timeout, hold=hold))

    def _begin(self, frame: Frame, lock: Callable[[], None], fence: int = -1) -> None:
        if self._next is not None:
            raise OSError(errno.EBUSY, "a flip is pending")
        lock()
        try:
            if self._front is None:
                self._set_mode(frame)
            self._page_flip(frame, fence)
        except BaseException:
            frame.shown.unlock()
            raise
        self._next = frame

    def _page_flip(self, frame: Frame, fence: int = -1) -> None:
        flip = _PageFlip(crtc_id=self._crtc, fb_id=frame.framebuffer, flags=_FLIP_EVENT)
        self._ioctl(_PAGE_FLIP, flip)

    def _set_mode(self, frame: Frame) -> None:
        connectors = (u32 * 1)(self._connector)
        crtc = _Crtc(
            connectors=ctypes.addressof(connectors),
            count_connectors=1,
            crtc_id=self._crtc,
            fb_id=frame.framebuffer,
            mode_valid=1,
            mode=self._mode,
        )
        self._ioctl(_SETCRTC, crtc)

    def complete(self, timeout: float = 10.0) -> None:
        """Wait for the event of the last flip, and unlock the frame that is no longer shown.

        TimeoutError after ``timeout`` seconds; LockRevoked when that frame's lock had been revoked,
        so that somebody may have drawn while it was shown.
        """
        while self._next is not None:
            if not select.select([self._fd], [], [], timeout)[0]:
                raise TimeoutError(errno.ETIMEDOUT, f"no flip within {timeout:g} s")
            event = _Event.from_buffer_copy(os.read(self._fd, ctypes.sizeof(_Event)))
            if event.type == _FLIP_COMPLETE:
                old, self._front, self._next = self._front, self._next, None
                if old is not None:
                    old.shown.unlock()
                self._front.shown.wait(timeout)

    def close(self) -> None:
        """Switch the display off, and free all frames."""
        self._front = self._next = None
        self._stack.close()

    def __enter__(self) -> Card:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _driver(path: Path) -> str:
    name = ctypes.create_string_buffer(64)
    version = _Version(name_len=len(name), name=ctypes.cast(name, ctypes.c_char_p))
    fd = os.open(path, _RDWR_CLOEXEC)
    try:
        fcntl.ioctl(fd, _VERSION, version)
    finally:
        os.close(fd)
    return name.value.decode()


def node(driver: str) -> Path:
    """The device node of the display with this driver, say ``virtio_gpu`` or ``bochs-drm``.

    FileNotFoundError (ENODEV) when there is none.
    """
    for path in sorted(Path("/dev/dri").glob("card*")):
        if _driver(path) == driver:
            return path
    raise FileNotFoundError(errno.ENODEV, f"no display with the driver {driver}")
