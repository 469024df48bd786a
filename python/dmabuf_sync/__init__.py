# SPDX-License-Identifier: MIT
"""Locks for dma-bufs.

DmaBuf, SyncFile, Heap and Udmabuf work on any kernel; locks with a timeout, Sync, Exporter and
Blitter need the kernel modules dmabuf_sync, vdmabuf and vblit. Kernel errors are OSError with their
errno. Timeouts are seconds (int, float or timedelta); waiting releases the GIL and Ctrl-C ends it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._held import Held
    from ._posix_lock import Conflict
    from .access import Access
    from .blitter import Blit, Blitter, BlitterInfo, Copy, Fill, Operation, Rect
    from .control import Control, ControlInfo, close_control
    from .display import Display, DisplayEvent, DisplayEventType
    from .dmabuf import BufferInfo, DmaBuf
    from .errors import Deadlock, JobFailed, LockRevoked
    from .exporter import Exporter, ExporterInfo
    from .heap import Heap, Udmabuf, heaps
    from .job import Job, JobInfo, JobState
    from .mapping import Mapping
    from .passing import recv_fds, send_fds
    from .sync import Sync, SyncInfo, SyncState
    from .sync_file import FenceInfo, SyncFile, SyncFileInfo

__all__ = [
    "Access",
    "Blit",
    "Blitter",
    "BlitterInfo",
    "BufferInfo",
    "Conflict",
    "Control",
    "ControlInfo",
    "Copy",
    "Deadlock",
    "Display",
    "DisplayEvent",
    "DisplayEventType",
    "DmaBuf",
    "Exporter",
    "ExporterInfo",
    "FenceInfo",
    "Fill",
    "Heap",
    "Held",
    "Job",
    "JobFailed",
    "JobInfo",
    "JobState",
    "LockRevoked",
    "Mapping",
    "Operation",
    "Rect",
    "Sync",
    "SyncFile",
    "SyncFileInfo",
    "SyncInfo",
    "SyncState",
    "Udmabuf",
    "close_control",
    "heaps",
    "recv_fds",
    "send_fds",
]

# The modules are imported by who uses them: most of the command does without any.
_HOMES = {
    "_held": "Held",
    "_posix_lock": "Conflict",
    "access": "Access",
    "blitter": "Blit Blitter BlitterInfo Copy Fill Operation Rect",
    "control": "Control ControlInfo close_control",
    "display": "Display DisplayEvent DisplayEventType",
    "dmabuf": "BufferInfo DmaBuf",
    "errors": "Deadlock JobFailed LockRevoked",
    "exporter": "Exporter ExporterInfo",
    "heap": "Heap Udmabuf heaps",
    "job": "Job JobInfo JobState",
    "mapping": "Mapping",
    "passing": "recv_fds send_fds",
    "sync": "Sync SyncInfo SyncState",
    "sync_file": "FenceInfo SyncFile SyncFileInfo",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(".passing", __name__)  # tells multiprocessing how to pass them
    found = globals()[name] = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
