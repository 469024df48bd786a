# SPDX-License-Identifier: MIT
"""Locks for dma-bufs.

DmaBuf, SyncFile, Heap and Udmabuf work on any kernel; locks with a timeout, Sync, Exporter and
Blitter need the kernel modules dmabuf_sync, vdmabuf and vblit. Kernel errors are OSError with their
errno. Timeouts are seconds (int, float or timedelta); waiting releases the GIL and Ctrl-C ends it.
"""

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
