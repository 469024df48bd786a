# SPDX-License-Identifier: MIT
"""Recordings: files with what a recorder has seen. docs/recordings.md describes the format.

A recording is text: the lines that the kernel prints for its events, unchanged, and lines of our
own that begin with "# ": a key and JSON. Every chunk is written at once, so what is on disk
when a recording is killed can be read; a line that was cut off is passed over.
"""

from __future__ import annotations

import gzip
import json
import os
import platform
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from .buffers import Buffer
from .damage import OWN, VERSION, Damaged, own_line
from .events import Event, Lost, read_line

_HEADER = b"# dmabuf-sync-recording "
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""Bytes of a line; no recorder writes as many."""
_ENDLESS = "what follows is one line without an end"


@dataclass
class Recording:
    """A recording that was read: what its own lines say, and its events."""

    start: dict[str, Any] = field(default_factory=dict)
    """Of the first line: when, where, and which command was recorded."""
    end: dict[str, Any] = field(default_factory=dict)
    """Of the last line; empty when the recording was cut short."""
    buffers: dict[str, Buffer] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    """In the order of time."""
    lost: int = 0
    """How many events are missing."""

    @property
    def complete(self) -> bool:
        """It ended as it should, and was not killed."""
        return bool(self.end)

    @property
    def boot_offset(self) -> int:
        """Nanoseconds from CLOCK_MONOTONIC to CLOCK_BOOTTIME, the clock of Perfetto."""
        clocks = self.start.get("clocks", {})
        return int(clocks.get("boottime", 0) - clocks.get("monotonic", 0))


class Writer:
    """Writes a recording; compressed if the name ends in ".gz". A context manager."""

    def __init__(self, path: str | os.PathLike[str], command: list[str]) -> None:
        self._file: BinaryIO = open(path, "wb", buffering=0)  # noqa: SIM115
        self._gzip = str(path).endswith(".gz")
        self._packer = zlib.compressobj(wbits=31)
        self.size = 0
        """Bytes of text, before they are compressed."""
        self._cut = False
        start = {
            "version": VERSION,
            "command": command,
            "clocks": {
                "monotonic": time.monotonic_ns(),
                "boottime": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "realtime": time.time_ns(),
            },
            "kernel": platform.release(),
            "machine": platform.machine(),
        }
        self._say(_HEADER.decode()[2:-1], start)

    def _say(self, key: str, value: object) -> None:
        self.write(f"# {key} {json.dumps(value)}\n".encode())

    def write(self, lines: bytes) -> None:
        """Add lines of the kernel. OSError when the disk is full."""
        if lines:
            self.size += len(lines)
            if self._gzip:
                lines = self._packer.compress(lines) + self._packer.flush(zlib.Z_SYNC_FLUSH)
            self._put(lines)

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            error.filename = self._file.name  # which write(2) cannot name
            raise

    def add_buffer(self, buffer: Buffer) -> None:
        """Say what a buffer is called."""
        self._say("buffer", asdict(buffer))

    def finish(self, *, lost: int, status: int | None) -> None:
        """Write the last line: how many events are missing, how the command ended."""
        self._say("end", {"lost": lost, "status": status, "monotonic": time.monotonic_ns()})

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if self._gzip:
                self._put(self._packer.flush())


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording, or a log of tracefs that has only events.

    A file that was cut off is read up to there. Events are put in the order of time: what each CPU
    has is in order, and the kernel all but merges it. ValueError when it has neither events nor
    a header; Damaged, which is one, names the line that no recorder of this version has written.
    """
    name = os.fspath(path)
    recording = Recording()
    read = 0
    try:
        for line in _lines(path):
            read += 1
            _take(recording, line)
    except Damaged as damage:
        if not read:
            raise ValueError(f"{name} is not a recording") from None
        raise Damaged(damage.what, read, name) from None
    except OSError as error:
        error.filename = name  # which read(2) cannot name
        raise
    if not recording.start and not recording.events:
        raise ValueError(f"{name} is not a recording")
    recording.lost = max(recording.lost, recording.end.get("lost", 0))
    recording.events.sort(key=lambda event: event.time)
    return recording


def _take(recording: Recording, line: str) -> None:
    """Add what one line says."""
    if line.startswith("# "):
        _, key, text = (*line.rstrip("\n").split(" ", 2), "")[:3]
        if key in OWN:
            _take_own(recording, key, text)
        return
    record = read_line(line)
    if isinstance(record, Lost):
        recording.lost += record.count
    elif record:
        recording.events.append(record)


def _take_own(recording: Recording, key: str, text: str) -> None:
    value = own_line(key, text)
    if key == "buffer":
        buffer = Buffer(**value)
        recording.buffers[buffer.ino] = buffer
    elif key == "end":
        recording.end = value
    else:
        recording.start = value


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """The whole lines of a file, which may be compressed, and cut off anywhere."""
    with Path(path).open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            while line := file.readline(_LONGEST):
                if line.endswith(b"\n"):
                    yield line.decode(errors="replace")
                elif len(line) == _LONGEST:
                    raise Damaged(_ENDLESS)
            return
        unpacked = gzip.GzipFile(fileobj=file)
        rest = b""
        found = False
        try:
            while chunk := unpacked.read1(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    found = True
                    yield line.decode(errors="replace") + "\n"
                if len(rest) >= _LONGEST:
                    raise Damaged(_ENDLESS)
        except EOFError:
            return
        except (zlib.error, gzip.BadGzipFile):
            if found:
                raise Damaged("what follows cannot be unpacked") from None
