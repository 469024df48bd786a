# SPDX-License-Identifier: MIT
"""Accesses as the events tell of them: who holds which bytes, and who keeps whom back.

Where the kernel may be stricter than its promise, this is the promise: a device conflicts with
the CPU on the bytes both name, although most exporters can only keep whole buffers apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Self, TypeVar

from .events import Event

WHOLE = (1 << 63) - 1


class State(Enum):
    """How far an access is."""

    ASKED = "asked"
    WAITING = "waiting"
    PENDING = "granted, pending"
    HELD = "held"
    LEAVING = "leaving"


@dataclass(frozen=True)
class Piece:
    """Bytes from `start` to `end`, both included, to read or to write."""

    start: int
    end: int
    writes: bool

    def without(self, start: int, end: int) -> list[Piece]:
        """Return what is left of it outside `start` to `end`."""
        left = []
        if self.start < start:
            left.append(Piece(self.start, min(self.end, start - 1), self.writes))
        if self.end > end:
            left.append(Piece(max(self.start, end + 1), self.end, self.writes))
        return left


@dataclass
class Access:
    """One access of the log; `pieces` are the bytes it asks for, or has."""

    name: str
    owner: str
    resv: str
    ino: str
    kind: str
    dma: bool
    pieces: list[Piece]
    pid: int
    state: State = State.ASKED
    revoked: bool = False
    adopted: bool = False
    passes: list[Access] = field(default_factory=list, compare=False)
    """Who waits in front of it and may have to let it pass."""
    perhaps_behind: list[Access] = field(default_factory=list, compare=False)
    """Who may wait in front of it, although not in Queue.waiting: see Queue.move_behind()."""

    @classmethod
    def of(cls, event: Event) -> Self:
        """Return the access that an event tells of."""
        fields = event.fields
        types = fields["type"].split("|")
        piece = Piece(int(fields["start"]), int(fields["end"]), "W" in types)
        return cls(
            name=fields["access"],
            owner=fields["owner"],
            resv=fields["resv"],
            ino=fields["ino"],
            kind=fields["kind"],
            dma="DMA" in types,
            pieces=[piece],
            pid=int(fields["pid"]),
        )

    def __str__(self) -> str:
        bytes_ = " ".join(
            f"{'W' if piece.writes else 'R'}{piece.start}-"
            f"{'end' if piece.end == WHOLE else piece.end}"
            for piece in self.pieces
        )
        dma = " DMA" if self.dma else ""
        return f"{self.kind}{dma} {bytes_} of pid {self.pid} ({self.state.value}, {self.name})"

    @property
    def is_fcntl(self) -> bool:
        return self.kind in ("posix", "ofd")

    @property
    def stays(self) -> bool:
        """Has its owner got it, and neither given it back nor lost it?"""
        return self.state is not State.LEAVING and not self.revoked

    def overlaps(self, other: Access, ours: Piece, theirs: Piece) -> bool:
        """Two dma-bufs of one reservation object, and two devices, share all bytes."""
        if self.ino != other.ino or (self.dma and other.dma):
            return True
        return ours.start <= theirs.end and theirs.start <= ours.end

    def conflicts(self, other: Access) -> bool:
        """May these two never be granted together?"""
        return self.owner != other.owner and any(
            (ours.writes or theirs.writes) and self.overlaps(other, ours, theirs)
            for ours in self.pieces
            for theirs in other.pieces
        )

    def may_conflict(self, other: Access) -> bool:
        """As conflicts(), but CPU and device may share all bytes, too."""
        return self.conflicts(other) or (self.owner != other.owner and self.dma != other.dma)

    def keeps(self, other: Access) -> bool:
        """Granted, does it keep another access from being granted?

        Jobs that are published do not keep jobs back; the caller knows which are.
        """
        if self.state is State.LEAVING and not other.dma:
            return False
        return self.conflicts(other)

    def add(self, other: Access) -> None:
        """Take over what another access of the same owner has been granted."""
        for piece in other.pieces:
            self.remove(piece.start, piece.end)
            self.pieces.append(piece)

    def remove(self, start: int, end: int) -> None:
        """Give bytes back."""
        self.pieces = [left for piece in self.pieces for left in piece.without(start, end)]


A = TypeVar("A", bound=Access)


@dataclass
class Queue(Generic[A]):
    """The accesses of one reservation object."""

    granted: list[A] = field(default_factory=list)
    waiting: list[A] = field(default_factory=list)

    def held_by(self, owner: str) -> list[A]:
        return [held for held in self.granted if held.owner == owner]

    def in_front(self, access: A) -> list[A]:
        """Return who waits in front of it, or may do so."""
        place = self.waiting.index(access)
        return [
            waiting
            for index, waiting in enumerate(self.waiting)
            if index < place or waiting in access.perhaps_behind
        ]

    def move_behind(self, access: A, first: list[A]) -> None:
        """Put these and all between that wait behind one of them right behind an access.

        Where the log does not tell whether one waits behind another, it stays, and this is noted.
        """
        place = self.waiting.index(access)
        in_front = self.waiting[:place]
        behind = dependents(in_front, first.__contains__)
        others = [waiting for waiting in self.waiting if waiting is not access]
        for waiting in dependents(others, first.__contains__, certainly=False):
            if waiting in in_front and waiting not in behind:
                waiting.perhaps_behind += [access, *behind]
        access.perhaps_behind = [
            waiting for waiting in access.perhaps_behind if waiting not in first
        ]
        rest = [waiting for waiting in in_front if waiting not in behind]
        self.waiting[: place + 1] = [*rest, access, *behind]


def dependents(
    waiting: Sequence[A], first: Callable[[A], bool], *, certainly: bool = True
) -> list[A]:
    """Return these accesses, and all that wait behind one of them, or may do so."""
    found = [first(access) for access in waiting]

    def waits_for(place: int, other: int) -> bool:
        ours, theirs = waiting[place], waiting[other]
        if certainly:
            return other < place and ours.conflicts(theirs)
        return ours.may_conflict(theirs) and (other < place or theirs in ours.perhaps_behind)

    while True:
        more = [
            place
            for place, is_found in enumerate(found)
            if not is_found
            and any(found[other] and waits_for(place, other) for other in range(len(found)))
        ]
        if not more:
            return [access for access, is_found in zip(waiting, found, strict=True) if is_found]
        for place in more:
            found[place] = True


@dataclass
class Job:
    """DMA that was published; `after` are the jobs that its fence comes after."""

    after: list[Job] = field(default_factory=list)
    started: bool = False
    ended: bool = False
