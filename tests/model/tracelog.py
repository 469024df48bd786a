# SPDX-License-Identifier: MIT
"""Logs of the dmabuf_sync tracepoints, as tracefs prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LINE = re.compile(r"\s(?P<number>\d+): dmabuf_sync_(?P<name>\w+): (?P<fields>.*)$")
LOST = re.compile(r"\[LOST (?P<count>\d+) EVENTS\]")


@dataclass(frozen=True)
class Event:
    """One event: the clock's count, the name without "dmabuf_sync_", and its fields as text."""

    number: int
    name: str
    fields: dict[str, str]

    def __str__(self) -> str:
        return f"{self.number}: {self.name} {' '.join(map('='.join, self.fields.items()))}"


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a log that was recorded with the trace clock "counter".

    Raises ValueError when events are missing, or are not in the order of the clock.
    """
    last = -1
    for line in lines:
        lost = LOST.search(line)
        if lost:
            raise ValueError(f"{lost['count']} events were lost: the buffer was too small")
        match = LINE.search(line)
        if not match:
            continue
        number = int(match["number"])
        if number <= last:
            raise ValueError(f"event {number} comes after {last}")
        last = number
        # The name of a job is the last field and may have spaces in it.
        text, mark, job = match["fields"].partition(" name=")
        fields = dict(word.split("=", 1) for word in text.split())
        if mark:
            fields["name"] = job
        yield Event(number, match["name"], fields)
