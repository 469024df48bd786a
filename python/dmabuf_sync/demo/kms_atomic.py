# SPDX-License-Identifier: MIT
"""A display whose flips are atomic commits: they can wait for a fence in the kernel.

As in kms.py, the structures of ``drm/drm_mode.h`` are spelled out here.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from .. import SyncFile
from .kms import Card, Frame, iowr, members, u32, u64

_UNIVERSAL_PLANES, _ATOMIC = 2, 3  # DRM_CLIENT_CAP_*
_PLANE = 0xEEEEEEEE  # DRM_MODE_OBJECT_PLANE
_PRIMARY = 1  # DRM_PLANE_TYPE_PRIMARY
_EVENT, _NONBLOCK = 0x1, 0x200  # DRM_MODE_PAGE_FLIP_EVENT, DRM_MODE_ATOMIC_NONBLOCK


class _ClientCapability(ctypes.Structure):
    _fields_ = members(u64, "capability value")


class _Planes(ctypes.Structure):
    _fields_ = [("planes", u64), ("count", u32)]


class _PlaneProperties(ctypes.Structure):
    _fields_ = [*members(u64, "ids values"), *members(u32, "count object_id object_type")]


class _Property(ctypes.Structure):
    _fields_ = [
        *members(u64, "values enums"),
        *members(u32, "id flags"),
        ("name", ctypes.c_char * 32),
        *members(u32, "count_values count_enums"),
    ]


class _Commit(ctypes.Structure):
    _fields_ = [
        *members(u32, "flags count"),
        *members(u64, "objects property_counts properties values reserved user_data"),
    ]


_SET_CLIENT_CAPABILITY = 0x4010640D
_GETPROPERTY = iowr(0xAA, _Property)
_GETPLANES = iowr(0xB5, _Planes)
_GETPROPERTIES = iowr(0xB9, _PlaneProperties)
_COMMIT = iowr(0xBC, _Commit)


class AtomicCard(Card):
    """A Card with explicit synchronisation. OSError (EOPNOTSUPP) when its driver is not atomic."""

    def __init__(self, path: str | os.PathLike[str], width: int = 640, height: int = 480) -> None:
        super().__init__(path, width, height)
        try:
            for capability in (_UNIVERSAL_PLANES, _ATOMIC):
                self._ioctl(_SET_CLIENT_CAPABILITY, _ClientCapability(capability, 1))
            self._plane, self._properties = self._primary()
        except BaseException:
            self.close()
            raise

    def _primary(self) -> tuple[int, dict[str, int]]:
        """The first primary plane, and its properties: their numbers by name."""
        found = _Planes()
        self._ioctl(_GETPLANES, found)
        planes = (u32 * found.count)()
        found.planes = ctypes.addressof(planes)
        self._ioctl(_GETPLANES, found)
        for plane in planes:
            properties = self._properties_of(plane)
            if properties.pop("type") == _PRIMARY:
                return plane, properties
        raise OSError(errno.ENODEV, "the display has no primary plane")

    def _properties_of(self, plane: int) -> dict[str, int]:
        """Numbers of its properties by name; of ``type`` the value."""
        asked = _PlaneProperties(object_id=plane, object_type=_PLANE)
        self._ioctl(_GETPROPERTIES, asked)
        ids, values = (u32 * asked.count)(), (u64 * asked.count)()
        asked.ids, asked.values = ctypes.addressof(ids), ctypes.addressof(values)
        self._ioctl(_GETPROPERTIES, asked)
        found = {}
        for number, value in zip(ids, values, strict=True):
            known = _Property(id=number)
            self._ioctl(_GETPROPERTY, known)
            name = known.name.decode()
            found[name] = value if name == "type" else number
        return found

    def _page_flip(self, frame: Frame, fence: int = -1) -> None:
        """Commit: the first plane shows ``frame`` once ``fence`` has signalled."""
        settings = {"FB_ID": frame.framebuffer, "IN_FENCE_FD": fence & 0xFFFFFFFFFFFFFFFF}
        objects, counts = (u32 * 1)(self._plane), (u32 * 1)(len(settings))
        properties = _array(u32, (self._properties[name] for name in settings))
        values = _array(u64, settings.values())
        commit = _Commit(
            flags=_EVENT | _NONBLOCK,
            count=1,
            objects=ctypes.addressof(objects),
            property_counts=ctypes.addressof(counts),
            properties=ctypes.addressof(properties),
            values=ctypes.addressof(values),
        )
        self._ioctl(_COMMIT, commit)

    def flip_after(self, frame: Frame, fence: SyncFile, *, hold: float | None = None) -> None:
        """Have ``frame`` shown as soon as ``fence`` has signalled, without waiting for it here.

        ``fence`` is that of the jobs that draw the frame: DmaBuf.export_sync_file(Access.READ) or
        Job.sync_file(). The display's lock is asked for before the flip, so it comes right behind
        these jobs, and complete() waits for it, too. Nothing but the fence holds the flip back:
        jobs may be before the lock, but no process that draws with the CPU.

        Needs a display that is on: the first frame is shown by flip(). OSError: EINVAL there was no
        flip before; see also flip().
        """
        if self._front is None:
            raise OSError(errno.EINVAL, "the display is off")
        self._begin(frame, lambda: frame.shown.request(hold=hold), fence.fileno())


def _array(kind: type, values: Iterable[int]) -> ctypes.Array[ctypes.c_uint64]:
    items = list(values)
    return (kind * len(items))(*items)  # type: ignore[no-any-return, operator]
