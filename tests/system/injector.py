# SPDX-License-Identifier: MIT
"""Lets the kernel's n-th allocation fail, or its n-th copy to or from user space.

    injector.arm(3)
    try:
        os.open("/dev/vblit", os.O_RDWR)      # meets the failure, or does not get that far
    finally:
        failed = injector.disarm()

Needs a kernel with fault injection, as the debug kernels have it.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
from collections.abc import Iterator
from pathlib import Path

DEBUGFS = "/sys/kernel/debug"
# By default only some kinds of allocation fail, and each says so at length.
_SETTINGS = {
    "failslab/ignore-gfp-wait": "N",
    "failslab/verbose": "0",
    "fail_page_alloc/ignore-gfp-wait": "N",
    "fail_page_alloc/ignore-gfp-highmem": "N",
    "fail_page_alloc/min-order": "0",
    "fail_page_alloc/verbose": "0",
    "fail_usercopy/verbose": "0",
}
CALLER = "/proc/thread-self/fail-nth"


def available() -> bool:
    return os.path.exists(CALLER) and os.path.exists(f"{DEBUGFS}/failslab/ignore-gfp-wait")


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Every allocation counts, and none is talked about."""
    old: dict[str, str] = {}
    for name, value in _SETTINGS.items():
        path = Path(DEBUGFS, name)
        if path.exists():
            old[name] = path.read_text()
            path.write_text(value)
    yield
    for name, value in old.items():
        Path(DEBUGFS, name).write_text(value)


class Injector:
    """Fails allocations of the thread that made it."""

    def __init__(self) -> None:
        self._fd = os.open(CALLER, os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)

    def arm(self, nth: int) -> None:
        os.pwrite(self._fd, b"%d" % nth, 0)

    def left(self) -> int:
        """How many more there have to be until one fails; reading it is one itself."""
        return int(os.pread(self._fd, 16, 0))

    def disarm(self) -> bool:
        """Whether it has failed something since arm()."""
        try:
            failed = os.pread(self._fd, 16, 0).strip() == b"0"
        except OSError as error:  # it is this copy to user space that fails
            assert error.errno == errno.EFAULT
            return False
        while True:
            try:
                os.pwrite(self._fd, b"0", 0)
                return failed
            except OSError as error:
                assert error.errno == errno.EFAULT


def arm_workers(nth: int) -> None:
    """Each of the kernel's worker threads fails its n-th allocation from now on; 0 for none."""
    for path in glob.glob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError):
            with open(path) as file:
                if not file.read().startswith("kworker/"):
                    continue
            with open(f"{os.path.dirname(path)}/fail-nth", "w") as file:
                file.write(str(nth))
