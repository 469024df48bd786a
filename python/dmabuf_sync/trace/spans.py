# SPDX-License-Identifier: MIT
"""Spans: stretches of time that are laid out so that none overlaps another."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Protocol, TypeVar


class Span(Protocol):
    """Something from `start` to `end`."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


S = TypeVar("S", bound=Span)


def lanes(spans: Iterable[S]) -> list[list[S]]:
    """Give each span the first lane in which nothing overlaps it; each lane is in order of time."""
    made: list[list[S]] = []
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        while busy and busy[0][0] <= span.start:
            heappush(free, heappop(busy)[1])
        if free:
            place = heappop(free)
        else:
            place = len(made)
            made.append([])
        made[place].append(span)
        heappush(busy, (span.end, place))
    return made
