# SPDX-License-Identifier: MIT
"""Records events of the kernel, each recorder in a tracing instance of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from types import TracebackType

TRACING = "/sys/kernel/tracing"
BUFFER_KB = 16384
"""Per CPU. A full buffer loses events, and then a log is refused."""

_number = itertools.count()


class Recorder:
    """Records while it is open: `with Recorder() as recorder: ...; recorder.stop()`."""

    def __init__(self, events: str = "dmabuf_sync") -> None:
        self.events = events
        self._folder = f"{TRACING}/instances/dmabuf_sync_{os.getpid()}_{next(_number)}"

    def __enter__(self) -> Recorder:
        os.mkdir(self._folder)
        # The only clock that is the same on all CPUs and never says the same twice.
        self._write("trace_clock", "counter")
        self._write("buffer_size_kb", str(BUFFER_KB))
        self._write(f"events/{self.events}/enable", "1")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._write(f"events/{self.events}/enable", "0")
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


class KernelProbe:
    """Notices calls of kernel functions: KernelProbe(name="function argument=%register:type")."""

    def __init__(self, **functions: str) -> None:
        self._group = f"dmabuf_sync_{os.getpid()}_{next(_number)}"
        self._functions = functions
        self._recorder = Recorder(self._group)

    def __enter__(self) -> KernelProbe:
        for name, text in self._functions.items():
            self._define(f"p:{self._group}/{name} {text}")
        self._recorder.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._recorder.__exit__(kind, value, trace)
        for name in self._functions:
            with contextlib.suppress(OSError):
                self._define(f"-:{self._group}/{name}")

    @staticmethod
    def _define(text: str) -> None:
        # Not open(): its mode "a" seeks to the end, which this file has not.
        fd = os.open(f"{TRACING}/kprobe_events", os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def calls(self) -> list[tuple[str, dict[str, str]]]:
        """The calls so far, in order: which function, with which arguments."""
        found = []
        for line in self._recorder.log():
            match = re.search(r"\d+: (\w+): \([^)]*\)(.*)$", line)
            if match:
                words = [word.split("=", 1) for word in match[2].split()]
                found.append((match[1], {word[0]: word[1] for word in words}))
        return found
