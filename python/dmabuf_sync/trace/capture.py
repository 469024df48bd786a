# SPDX-License-Identifier: MIT
"""Capturing: events go from a recorder into a file, with the names of their buffers."""

from __future__ import annotations

import re
from types import TracebackType

from .buffers import Finder
from .recording import Writer
from .tracefs import Recorder

INTERVAL = 0.02
"""Seconds between two calls of :meth:`Capture.pump`: often, so that programs are met alive."""
_ASKS = re.compile(rb"_request: ino=(\d+) .*? pid=(\d+) ")


class Capture:
    """Records into a file while it is open. OSError as Recorder, and as the file gives it.

        with Capture("run.dsync", []) as capture:
            while ...:
                capture.pump()
                time.sleep(INTERVAL)
            capture.finish()

    Without finish() the file can be read, but lacks what was not pumped.
    """

    def __init__(self, path: str, command: list[str], *, buffer_kb: int) -> None:
        self._path = path
        self._command = command
        self._recorder = Recorder(clock="mono", buffer_kb=buffer_kb)
        self._finder = Finder()
        self.events = 0
        self.lost = 0

    def __enter__(self) -> Capture:
        # The recorder first: without it, no file is written over.
        self._recorder.__enter__()
        try:
            self._writer = Writer(self._path, self._command).__enter__()
        except BaseException:
            self._recorder.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.__exit__(kind, value, trace)
        finally:
            self._recorder.__exit__(kind, value, trace)

    @property
    def size(self) -> int:
        """Bytes recorded, before they are compressed."""
        return self._writer.size

    def pump(self) -> int:
        """Bring what has happened into the file; return how many events that were."""
        lines = self._recorder.drain()
        self._writer.write(lines)
        for ino, pid in set(_ASKS.findall(lines)):
            for buffer in self._finder.find(ino.decode(), int(pid)):
                self._writer.add_buffer(buffer)
        count = lines.count(b"\n")
        self.events += count
        return count

    def finish(self, status: int | None = None) -> None:
        """Stop recording, and end the file with what was lost and the command's status."""
        self._recorder.stop()
        self.pump()
        self.lost = self._recorder.lost()
        self._writer.finish(lost=self.lost, status=status)
