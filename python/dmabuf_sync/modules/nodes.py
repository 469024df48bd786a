# SPDX-License-Identifier: MIT
"""NodeWatch: waits for the device nodes that modules bring."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from .._system import Timeout, deadline_ns, remaining_ms

NODES = {
    "dmabuf_sync": Path("/dev/dmabuf_sync"),
    "vdmabuf": Path("/dev/vdmabuf"),
    "vblit": Path("/dev/vblit"),
    "vdisplay": Path("/dev/vdisplay"),
}
"""The device node of each module."""

UDEVD = Path("/run/udev/control")


class NodeWatch:
    """Listens to uevents from when it is made, so make it before the module is loaded.

    Where udevd runs, a node counts once udevd has set its owner and mode by its rules.
    """

    def __init__(self) -> None:
        import pyudev

        self._devices = pyudev.Context()
        self._udevd = UDEVD.exists()
        self._monitor = pyudev.Monitor.from_netlink(
            self._devices, source="udev" if self._udevd else "kernel"
        )
        self._monitor.filter_by("misc")
        self._monitor.start()

    def ready(self, node: Path) -> bool:
        """Whether a node is there, and udevd has done what it does."""
        import pyudev

        if not node.exists():
            return False
        if not self._udevd:
            return True
        try:
            device = pyudev.Devices.from_device_file(self._devices, str(node))
        except (pyudev.DeviceNotFoundError, OSError):
            return False
        return bool(device.is_initialized)

    def wait(self, nodes: Iterable[Path], timeout: Timeout = 10.0) -> float:
        """Wait until all are there; returns how many seconds that took.

        TimeoutError names the ones that are not.
        """
        began = time.monotonic()
        deadline = deadline_ns(timeout)
        missing = list(nodes)
        while missing := [node for node in missing if not self.ready(node)]:
            left = remaining_ms(deadline)
            if left == 0:
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"{', '.join(map(str, missing))} did not appear: {self._why(missing)}",
                )
            # A quarter of a second: a node can come without an event that we see.
            self._monitor.poll(0.25 if left is None else min(left / 1e3, 0.25))
        return time.monotonic() - began

    def _why(self, missing: list[Path]) -> str:
        if all(node.exists() for node in missing):
            return "udevd has not handled them"
        if os.path.ismount("/dev"):
            return "is a devtmpfs mounted on /dev?"
        return "/dev is not mounted"
