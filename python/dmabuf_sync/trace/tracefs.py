# SPDX-License-Identifier: MIT
"""Recorders: tracing instances of their own, so that other people's tracing is left alone."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
from pathlib import Path
from types import TracebackType

from .events import SYSTEMS

TRACEFS = Path("/sys/kernel/tracing")
BUFFER_KB = 16384
"""For each CPU; events that find it full are lost."""
_CHUNK = 1 << 16
_INSTANCE = re.compile(r"dmabuf_sync_(\d+)_\d+")

_number = itertools.count()


class Recorder:
    """Records tracepoints while it is open. Needs root, and the modules. For one thread.

        with Recorder() as recorder:
            ...
            recorder.stop()
            lines = recorder.log()

    `events` are folders of tracefs's events/; those that this kernel has not are left out, but
    OSError (ENOENT) when it has none. The `clock` "mono" is CLOCK_MONOTONIC; "counter" is the same
    on all CPUs and never says the same twice, which replay() needs.
    """

    def __init__(
        self,
        events: tuple[str, ...] = SYSTEMS,
        *,
        clock: str = "counter",
        buffer_kb: int = BUFFER_KB,
    ) -> None:
        self._events = events
        self._clock = clock
        self._buffer_kb = buffer_kb
        self._folder = TRACEFS / "instances" / f"dmabuf_sync_{os.getpid()}_{next(_number)}"
        self._pipe = -1

    def __enter__(self) -> Recorder:
        _find_tracefs()
        _remove_leftovers()
        self._folder.mkdir()
        try:
            self._write("trace_clock", self._clock)
            self._write("buffer_size_kb", str(self._buffer_kb))
            self._enable()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _enable(self) -> None:
        known = [name for name in self._events if (self._folder / "events" / name).is_dir()]
        if not known:
            path = f"{TRACEFS}/events/{self._events[0]}"
            error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            error.add_note("the kernel module is not loaded")
            raise error
        for name in known:
            self._write(f"events/{name}/enable", "1")

    def _remove(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        self._write("tracing_on", "0")
        # Enabled events keep their modules from being unloaded.
        self._write("events/enable", "0")
        self._folder.rmdir()

    def _write(self, name: str, value: str) -> None:
        (self._folder / name).write_text(value)

    def stop(self) -> None:
        """Record no more."""
        self._write("tracing_on", "0")

    def log(self) -> list[str]:
        """What was recorded and not yet drained, a line for each event."""
        with (self._folder / "trace").open(errors="replace") as file:
            return file.readlines()

    def drain(self) -> bytes:
        """Take out what was recorded since the last call, as whole lines; does not wait.

        Where events were lost there is a line that says how many.
        """
        if self._pipe < 0:
            path = self._folder / "trace_pipe"
            self._pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        chunks = []
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._pipe, _CHUNK):
                chunks.append(chunk)
        return b"".join(chunks)

    def lost(self) -> int:
        """How many events were lost since the start."""
        count = 0
        for stats in self._folder.glob("per_cpu/cpu*/stats"):
            values = dict(line.split(": ", 1) for line in stats.read_text().splitlines())
            count += int(values["overrun"]) + int(values["dropped events"])
        return count


def _find_tracefs() -> None:
    if not (TRACEFS / "instances").exists() and os.access(TRACEFS, os.R_OK):
        error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{TRACEFS}/instances")
        error.add_note(f"mount -t tracefs tracefs {TRACEFS}")
        raise error


def _remove_leftovers() -> None:
    """Remove the instances of recorders that were killed: they would keep their memory."""
    for folder in (TRACEFS / "instances").iterdir():
        match = _INSTANCE.fullmatch(folder.name)
        if match and not Path("/proc", match[1]).exists():
            with contextlib.suppress(OSError):
                (folder / "events/enable").write_text("0")
                folder.rmdir()
