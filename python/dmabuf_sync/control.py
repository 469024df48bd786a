# SPDX-License-Identifier: MIT
"""Control: the device /dev/dmabuf_sync of the kernel module dmabuf_sync."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ._handle import Handle
from ._system import ioctl, open_device
from ._uapi import ffi, lib


@dataclass(frozen=True)
class ControlInfo:
    """Version, capabilities and limits of the module. Times are milliseconds."""

    abi_version: int
    capabilities: int
    max_buffers: int
    """Most buffers in one Sync."""
    hold_timeout_ms: int
    """Hold time of a lock that asks for none."""
    max_hold_timeout_ms: int
    """Longest hold time that a lock may ask for."""


class Control(Handle):
    """/dev/dmabuf_sync, opened. Threads may share it.

    While any process has it open, the module cannot be unloaded. The library opens it once, when a
    lock first needs it; see :func:`close_control`.
    """

    PATH = "/dev/dmabuf_sync"

    def __init__(self) -> None:
        super().__init__(open_device(self.PATH, "the kernel module dmabuf_sync"))

    def info(self) -> ControlInfo:
        """Ask the module what it can do."""
        query = ffi.new("struct dmabuf_sync_query *")
        ioctl(self, lib.DMABUF_SYNC_IOC_QUERY, query, "query /dev/dmabuf_sync")
        return ControlInfo(
            abi_version=query.abi_version,
            capabilities=query.capabilities,
            max_buffers=query.max_buffers,
            hold_timeout_ms=query.hold_timeout_ms,
            max_hold_timeout_ms=query.max_hold_timeout_ms,
        )


_shared: Control | None = None
_shared_guard = threading.Lock()


def shared_control() -> Control:
    """The process's one Control, opened at the first call."""
    global _shared
    with _shared_guard:
        if _shared is None:
            _shared = Control()
        return _shared


def close_control() -> None:
    """Close the Control that the library keeps open, so that the module can be unloaded.

    It is opened again when next needed. No other thread may be in a call that uses it.
    """
    global _shared
    with _shared_guard:
        if _shared is not None:
            _shared.close()
            _shared = None
