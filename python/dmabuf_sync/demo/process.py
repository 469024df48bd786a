# SPDX-License-Identifier: MIT
"""A forked child, which keeps the open dma-bufs, as one object."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType


class Child:
    """Runs ``work()`` in a forked process; leaving the ``with`` block kills what still runs.

    Fork before threads are started: the child has only the thread that forked.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        sys.stdout.flush()
        self._running = True
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException as error:
                print(f"process {os.getpid()}: {error!r}", file=sys.stderr, flush=True)
            finally:
                os._exit(status)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._running:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()

    def join(self) -> None:
        """Wait until it ends; ChildProcessError when it did not end well."""
        status = self._wait()
        if status:
            raise ChildProcessError(f"process {self.pid} ended with status {status}")

    def sleeping(self) -> bool:
        """It waits in the kernel, as far as its scheduler can tell."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "SD"

    def _wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self._running = False
        return os.waitstatus_to_exitcode(status)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
