# SPDX-License-Identifier: MIT
"""The contract as a small model: who gets which bytes, who waits, and in what order.

It has no processes, files or time: one call after the other, each answered at once with what it
comes to and with who else is served by it. It follows docs/locking.md, not the code:

    model = Model(buffers=2)
    model.fcntl(Owner("posix", 10), 0, WRITE, (0, 2), wait=True)     # -> GRANTED
    model.fcntl(Owner("posix", 11), 0, READ, (1, 3), wait=True)      # -> WAITS
    model.unlock(Owner("posix", 10), 0, (0, LAST))
    model.served                                                     # who was granted meanwhile

Bytes come in blocks, the last of which goes on beyond the end of the buffer for ever. Jobs are over
as soon as they are granted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

LAST = 5
"""Blocks of a buffer."""
READ, WRITE = "R", "W"
GRANTED, WAITS = 0, -1
MOVES = 16
"""Cycles of order that one request undoes."""

Span = tuple[int, int]
"""First block and the one after the last."""
WHOLE: Span = (0, LAST)


class Owner(NamedTuple):
    """Who holds: `kind` is posix, ofd, sync or job; `name` tells those of a kind apart."""

    kind: str
    name: int


@dataclass(eq=False)
class Access:
    """A wish for blocks of one buffer."""

    owner: Owner
    buffer: int
    type: str
    span: Span
    request: Request = field(init=False)

    def conflicts(self, other: Access) -> bool:
        return (
            self.owner != other.owner
            and self.buffer == other.buffer
            and WRITE in (self.type, other.type)
            and self.span[0] < other.span[1]
            and other.span[0] < self.span[1]
        )


@dataclass(eq=False)
class Request:
    """What is granted together. `pid` is the process that asked."""

    owner: Owner
    pid: int
    accesses: list[Access]

    def __post_init__(self) -> None:
        for access in self.accesses:
            access.request = self


@dataclass(frozen=True)
class _Edge:
    """From one who waits to one it waits for; `order` if only the queue makes it wait."""

    start: Access
    order: Access | None


class Model:
    """All buffers. `served` collects the requests granted after waiting, until it is emptied."""

    def __init__(self, buffers: int) -> None:
        self.waiting: list[list[Access]] = [[] for _ in range(buffers)]
        self.served: list[Request] = []
        # Of each owner on each buffer, in the order in which they came: the types of the blocks.
        self._holds: list[dict[Owner, list[str]]] = [{} for _ in range(buffers)]

    # What is asked of it

    def fcntl(self, owner: Owner, pid: int, buffer: int, type_: str, span: Span, wait: bool) -> int:
        """F_SETLK(W): GRANTED, WAITS, or an errno."""
        return self._ask(Request(owner, pid, [Access(owner, buffer, type_, span)]), wait)

    def lock_set(
        self, owner: Owner, pid: int, wanted: list[tuple[int, str, Span]], wait: bool
    ) -> int:
        """All of them or none: GRANTED, WAITS, or an errno."""
        return self._ask(Request(owner, pid, [Access(owner, *each) for each in wanted]), wait)

    def submit(self, owner: Owner, pid: int, wanted: list[tuple[int, str]]) -> int:
        """GRANTED, and over, or WAITS."""
        accesses = [Access(owner, *each, WHOLE) for each in wanted]
        return self._ask(Request(owner, pid, accesses), True)

    def unlock(self, owner: Owner, buffer: int, span: Span) -> None:
        blocks = self._holds[buffer].get(owner)
        if blocks is None:
            return
        blocks[span[0] : span[1]] = [""] * (span[1] - span[0])
        if not any(blocks):
            del self._holds[buffer][owner]
        self._serve()

    def unlock_all(self, owner: Owner) -> None:
        """Whatever it holds, wherever, and what it waits for."""
        for holds in self._holds:
            holds.pop(owner, None)
        self.cancel(lambda request: request.owner == owner)

    def cancel(self, which: Callable[[Request], bool]) -> None:
        for queue in self.waiting:
            queue[:] = [access for access in queue if not which(access.request)]
        self._serve()

    def conflicts_of(self, owner: Owner, buffer: int, type_: str, span: Span) -> set[Owner]:
        """F_GETLK: who holds what conflicts; empty if it would be granted, but for the queue."""
        access = Access(owner, buffer, type_, span)
        return {held.owner for held in self._held(buffer) if held.conflicts(access)}

    # What it says

    def records(self, buffer: int) -> list[tuple[str, int, str, Span]]:
        """What /proc/locks shows: kind, name, type and blocks of the fcntl holds, sorted."""
        return sorted(
            (held.owner.kind, held.owner.name, held.type, held.span)
            for held in self._held(buffer)
            if held.owner.kind in ("posix", "ofd")
        )

    def holders(self, buffer: int) -> set[Owner]:
        return set(self._holds[buffer])

    def line(self, buffer: int) -> list[tuple[str, int, str]]:
        """Who waits, first come first: kind, process and type."""
        return [(one.owner.kind, one.request.pid, one.type) for one in self.waiting[buffer]]

    # How it works

    def _held(self, buffer: int) -> Iterator[Access]:
        """Every run of blocks that an owner holds in the same way."""
        for owner, blocks in self._holds[buffer].items():
            start = 0
            for end in range(1, LAST + 1):
                if end == LAST or blocks[end] != blocks[start]:
                    if blocks[start]:
                        yield Access(owner, buffer, blocks[start], (start, end))
                    start = end

    def _held_back(self, access: Access) -> bool:
        return any(held.conflicts(access) for held in self._held(access.buffer))

    def _position(self, access: Access) -> int:
        """At the end, but in front of those who wait for its owner, directly or behind each other.

        They are moved to the end for that, past others who have nothing to do with them.
        """
        own = [held for held in self._held(access.buffer) if held.owner == access.owner]
        return self._move_behind(
            self.waiting[access.buffer],
            lambda other: any(held.conflicts(other) for held in own),
        )

    @staticmethod
    def _move_behind(queue: list[Access], first: Callable[[Access], bool]) -> int:
        """Move these, and all who wait behind one of them, to the end; return where they begin."""
        behind: list[Access] = []
        for other in queue:
            if first(other) or any(other.conflicts(moved) for moved in behind):
                behind.append(other)
        queue[:] = [other for other in queue if other not in behind] + behind
        return len(queue) - len(behind)

    def _blocked(self, access: Access, position: int) -> bool:
        in_front = self.waiting[access.buffer][:position]
        return self._held_back(access) or any(other.conflicts(access) for other in in_front)

    def _ask(self, request: Request, wait: bool) -> int:
        if not any(self._blocked(one, self._position(one)) for one in request.accesses):
            self._grant(request)
            self._serve()
            return GRANTED
        if not wait:
            return errno.EAGAIN
        for access in request.accesses:
            self.waiting[access.buffer].insert(self._position(access), access)
        if request.owner.kind == "posix" and self._deadlocks(request):
            self.cancel(lambda other: other is request)
            return errno.EDEADLK
        self._serve()
        return GRANTED if request in self.served else WAITS

    def _grant(self, request: Request) -> None:
        if request.owner.kind == "job":
            return
        for access in request.accesses:
            blocks = self._holds[access.buffer].setdefault(access.owner, [""] * LAST)
            first, end = access.span
            blocks[first:end] = [access.type] * (end - first)

    def _serve(self) -> None:
        """Grant what can be, until nothing can."""
        again = True
        while again:
            again = False
            for request in list(dict.fromkeys(a.request for q in self.waiting for a in q)):
                spots = [(a, self.waiting[a.buffer].index(a)) for a in request.accesses]
                if any(self._blocked(access, spot) for access, spot in spots):
                    continue
                for access, _ in spots:
                    self.waiting[access.buffer].remove(access)
                self._grant(request)
                self.served.append(request)
                again = True

    def _deadlocks(self, start: Request) -> bool:
        """Turn cycles of order round; does one of holds remain?"""
        turned: set[tuple[Access, Access]] = set()
        roots = [start]
        while True:
            if not self._waits(start):
                return False
            if self._cycle(start, order=False):
                return True
            edge = self._edge_to_turn(roots, turned)
            if edge is None or edge.order is None or len(roots) > MOVES:
                return False
            turned.add((edge.order, edge.start))
            roots.append(edge.start.request)
            queue = self.waiting[edge.start.buffer]
            end = queue.index(edge.start)
            in_front = queue[:end]
            place = self._move_behind(in_front, lambda other, passed=edge.order: other is passed)
            queue[: end + 1] = [*in_front[:place], edge.start, *in_front[place:]]
            self._serve()

    def _edge_to_turn(
        self, roots: list[Request], turned: set[tuple[Access, Access]]
    ) -> _Edge | None:
        """Of the first cycle of order that goes through one of these."""
        for root in roots:
            cycle = self._cycle(root, order=True) if self._waits(root) else []
            if root is not roots[0] and all(edge.order is None for edge in cycle):
                continue  # a deadlock of others
            for edge in cycle:
                if edge.order is None or edge.start.owner.kind != "posix":
                    continue
                if (edge.start, edge.order) not in turned:
                    return edge
            if cycle:
                return None
        return None

    def _waits(self, request: Request) -> bool:
        return all(access in self.waiting[access.buffer] for access in request.accesses)

    def _cycle(self, start: Request, order: bool) -> list[_Edge]:
        """The edges of the shortest way from a request back to its owner, first one first."""
        paths: dict[Request, list[_Edge]] = {start: []}
        for request in (todo := [start]):
            for access in request.accesses:
                for edge, nexts in self._edges(access, order):
                    path = [*paths[request], edge]
                    for following in nexts:
                        if following is start:
                            return path
                        if following not in paths:
                            paths[following] = path
                            todo.append(following)
        return []

    def _edges(self, access: Access, order: bool) -> Iterator[tuple[_Edge, list[Request]]]:
        queue = self.waiting[access.buffer]
        in_the_way = [held.owner for held in self._held(access.buffer) if held.conflicts(access)]
        for owner in dict.fromkeys(in_the_way):
            if owner.kind == "posix":
                waits = [other for line in self.waiting for other in line if other.owner == owner]
                yield _Edge(access, None), [other.request for other in waits]
        for other in queue[: queue.index(access)] if order else ():
            if other.conflicts(access):
                yield _Edge(access, other), [other.request]
