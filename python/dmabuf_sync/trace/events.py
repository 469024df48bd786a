# SPDX-License-Identifier: MIT
"""Events: the lines that tracefs prints for the tracepoints of the modules, as records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SYSTEMS = ("dmabuf_sync", "vdmabuf")
"""The modules that have tracepoints."""

_LINE = re.compile(
    r"\s*(?P<comm>.*)-(?P<task>\d+)\s+(?:\([ \d-]+\)\s+)?\[(?P<cpu>\d+)\]\s.*?"
    rf"(?P<time>[\d.]+): (?P<system>{'|'.join(SYSTEMS)})_(?P<name>\w+): (?P<fields>.*)$"
)
_LOST = re.compile(r"^CPU:(?P<cpu>\d+) \[LOST (?P<count>\d+) EVENTS\]")
# These come last and may have spaces in them.
_FREE_TEXT = re.compile(r" ?\b(name|comm)=(.*)$")


@dataclass(frozen=True)
class Event:
    """One event. Its fields are as the kernel prints them; kernel/dmabuf_sync/trace.h says what."""

    time: int
    """CLOCK_MONOTONIC nanoseconds, to the microsecond; a mere count with the clock "counter"."""
    cpu: int
    comm: str
    """Who ran when it happened, which need not be whom it is about."""
    task: int
    """The thread that ran."""
    system: str
    name: str
    """Without the system: "grant"."""
    fields: dict[str, str]

    def __str__(self) -> str:
        return f"{self.time}: {self.name} {' '.join(map('='.join, self.fields.items()))}"

    def number(self, field: str) -> int:
        """A field that is a decimal number."""
        return int(self.fields[field])


@dataclass(frozen=True)
class Lost:
    """The buffer of a CPU was full: `count` of its events are missing here."""

    cpu: int
    count: int


def read(lines: Iterable[str]) -> Iterator[Event | Lost]:
    """Yield what the lines of a log say; lines that are neither are passed over."""
    for line in lines:
        match = _LINE.match(line)
        if match:
            yield _event(match)
        elif line.startswith("CPU:") and (lost := _LOST.match(line)):
            yield Lost(int(lost["cpu"]), int(lost["count"]))


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a log that was recorded with the trace clock "counter", to be replayed.

    Raises ValueError when events are missing, or are not in the order of the clock.
    """
    last = -1
    for event in read(lines):
        if isinstance(event, Lost):
            raise ValueError(f"{event.count} events were lost: the buffer was too small")
        if event.time <= last:
            raise ValueError(f"event {event.time} comes after {last}")
        last = event.time
        if event.system == "dmabuf_sync":
            yield event


def _event(match: re.Match[str]) -> Event:
    text = match["fields"]
    free = _FREE_TEXT.search(text)
    fields = dict(
        word.split("=", 1)
        for word in (text[: free.start()] if free else text).split()
        if "=" in word
    )
    if free:
        fields[free[1]] = free[2]
    return Event(
        time=_time(match["time"]),
        cpu=int(match["cpu"]),
        comm=match["comm"],
        task=int(match["task"]),
        system=match["system"],
        name=match["name"],
        fields=fields,
    )


def _time(text: str) -> int:
    seconds, dot, micros = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(micros) * 1000 if dot else int(seconds)
