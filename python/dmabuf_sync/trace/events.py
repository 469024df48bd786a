# SPDX-License-Identifier: MIT
"""Events: the lines that tracefs prints for the tracepoints of the modules, as records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .damage import LARGEST, Damaged, check_fields, number

SYSTEMS = ("dmabuf_sync", "vdmabuf")
"""The modules that have tracepoints."""

_LINE = re.compile(
    r"\s*(?P<comm>.*)-(?P<task>\d+)\s+(?:\([ \d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:[^\s:]+\s+)?"
    rf"(?P<time>[^\s:]+): (?P<system>{'|'.join(SYSTEMS)})_(?P<name>\w+): (?P<fields>.*)$"
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
    """Yield what the lines of a log say; lines that are neither are passed over.

    Raises Damaged, with the line's number counted from 1, for an event that cannot be.
    """
    for place, line in enumerate(lines, 1):
        try:
            found = read_line(line)
        except Damaged as damage:
            raise Damaged(damage.what, place) from None
        if found:
            yield found


def read_line(line: str) -> Event | Lost | None:
    """What one line says; raises Damaged."""
    match = _LINE.match(line)
    if match:
        return _event(match)
    if line.startswith("CPU:") and (lost := _LOST.match(line)):
        return Lost(number(lost["cpu"], "the CPU"), number(lost["count"], "how many were lost"))
    return None


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a log that was recorded with the trace clock "counter", to be replayed.

    Raises Damaged as read(), ValueError when events are missing or not in the clock's order.
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
    check_fields(match["name"], fields)
    return Event(
        time=_time(match["time"]),
        cpu=number(match["cpu"], "the CPU"),
        comm=match["comm"],
        task=number(match["task"], "the thread"),
        system=match["system"],
        name=match["name"],
        fields=fields,
    )


def _time(text: str) -> int:
    seconds, dot, micros = text.partition(".")
    if not dot:
        return number(seconds, "the time", LARGEST // 2)
    if len(micros) != 6:
        raise Damaged(f"the time is not in microseconds: {text[:40]!r}")
    whole = number(seconds, "the time", LARGEST // 2_000_000_000)
    return whole * 1_000_000_000 + number(micros, "the time") * 1000
