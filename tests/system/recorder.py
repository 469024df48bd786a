# SPDX-License-Identifier: MIT
"""Records the tracepoints of dmabuf_sync in a tracing instance of its own."""

from __future__ import annotations

import itertools
import os
from types import TracebackType

INSTANCES = "/sys/kernel/tracing/instances"
BUFFER_KB = 16384
"""Per CPU. A full buffer loses events, and then the log is refused."""

_number = itertools.count()


class Recorder:
    """Records while it is open: `with Recorder() as recorder: ...; recorder.stop()`."""

    def __init__(self) -> None:
        self._folder = f"{INSTANCES}/dmabuf_sync_{os.getpid()}_{next(_number)}"

    def __enter__(self) -> Recorder:
        os.mkdir(self._folder)
        # The only clock that is the same on all CPUs and never says the same twice.
        self._write("trace_clock", "counter")
        self._write("buffer_size_kb", str(BUFFER_KB))
        self._write("events/dmabuf_sync/enable", "1")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        os.rmdir(self._folder)

    def _write(self, name: str, value: str) -> None:
        with open(f"{self._folder}/{name}", "w") as file:
            file.write(value)

    def stop(self) -> None:
        """Record no more."""
        self._write("tracing_on", "0")

    def log(self) -> list[str]:
        """What was recorded, a line for each event."""
        with open(f"{self._folder}/trace") as file:
            return file.readlines()
