# SPDX-License-Identifier: MIT
"""Notices calls of kernel functions, by kprobes in a tracing instance of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from types import TracebackType

from dmabuf_sync.trace import Recorder
from dmabuf_sync.trace.tracefs import TRACEFS

_number = itertools.count()


class KernelProbe:
    """Notices calls of kernel functions: KernelProbe(name="function argument=%register:type")."""

    def __init__(self, **functions: str) -> None:
        self._group = f"dmabuf_sync_{os.getpid()}_{next(_number)}"
        self._functions = functions
        self._recorder = Recorder((self._group,))

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
        fd = os.open(f"{TRACEFS}/kprobe_events", os.O_WRONLY | os.O_APPEND)
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
