# SPDX-License-Identifier: MIT
"""Reports: what a history says of contention. All durations are nanoseconds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .history import History, Outcome, Request, Use
from .names import Names
from .recording import Recording

_LONGEST_CHAIN = 16


@dataclass(frozen=True)
class Waits:
    """How long those who had to wait did so; percentiles by nearest rank."""

    count: int
    total_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    max_ns: int


@dataclass(frozen=True)
class Link:
    """One of a chain: it held, or waited for, this buffer, and so the one before it waited."""

    process: str
    kind: str
    mode: str
    buffer: str
    waited_ns: int
    """0 when it got the buffer at once."""


@dataclass(frozen=True)
class Wait:
    """A request that had to wait."""

    at_ns: int
    """Since the recording began."""
    process: str
    kind: str
    mode: str
    buffer: str
    """The one that came last, of those it asked for."""
    buffers: int
    """How many it asked for at once."""
    waited_ns: int
    outcome: str
    chain: tuple[Link, ...]
    """Who it waited for, who that one waited for, and so on."""


@dataclass(frozen=True)
class BufferRow:
    """A buffer. Its `held_ns` counts once what several held together."""

    buffer: str
    inode: int
    size: int
    uses: int
    held_ns: int
    waits: Waits
    revoked: int
    strict_faults: int


@dataclass(frozen=True)
class ProcessRow:
    """A process. It is `blocking` others for as long as they wait and it is the last in the way."""

    process: str
    pid: int
    requests: int
    waits: Waits
    blocking_ns: int
    revoked: int
    deadlocks: int


@dataclass(frozen=True)
class DeviceRow:
    """A device: its jobs, and how long they waited for the CPU and for the fences before them."""

    device: str
    jobs: int
    failed: int
    busy_ns: int
    waits: Waits
    behind_fences: Waits


@dataclass(frozen=True)
class Incident:
    """A hold that was revoked, a deadlock that was refused, a strict buffer touched unlocked."""

    at_ns: int
    what: str
    process: str
    mode: str
    buffer: str
    held_ns: int
    """Until then, if it was held."""


@dataclass(frozen=True)
class Report:
    """Rows with the worst first."""

    seconds: float
    events: int
    lost: int
    complete: bool
    command: list[str]
    requests: int
    waits: Waits
    buffers: list[BufferRow]
    processes: list[ProcessRow]
    devices: list[DeviceRow]
    longest: list[Wait]
    incidents: list[Incident]


def report(recording: Recording, history: History, longest: int = 10) -> Report:
    """Sum a recording up; `longest` is how many of the waits to tell in full."""
    return _Reporter(recording, history).make(longest)


def waits(requests: Iterable[Request]) -> Waits:
    """Percentiles of those that waited."""
    return _summary([request.waited for request in requests if request.has_waited])


def _summary(durations: Iterable[int]) -> Waits:
    ordered = sorted(durations)
    if not ordered:
        return Waits(0, 0, 0, 0, 0, 0)
    p50, p90, p99 = (_percentile(ordered, share) for share in (0.5, 0.9, 0.99))
    return Waits(len(ordered), sum(ordered), p50, p90, p99, ordered[-1])


def _percentile(ordered: Sequence[int], share: float) -> int:
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def covered(stretches: Iterable[tuple[int, int]]) -> int:
    """How long at least one of them lasts."""
    total = reached = 0
    for start, end in sorted(stretches):
        total += max(end - max(start, reached), 0)
        reached = max(reached, end)
    return total


class _Reporter:
    """Makes a report of one recording."""

    def __init__(self, recording: Recording, history: History) -> None:
        self._recording = recording
        self._history = history
        self._names = Names(recording, history)
        self._by_pid: dict[int, list[Request]] = defaultdict(list)
        for request in history.requests:
            self._by_pid[request.pid].append(request)

    def make(self, longest: int) -> Report:
        history = self._history
        waited = [request for request in history.requests if request.has_waited]
        waited.sort(key=lambda request: request.waited, reverse=True)
        return Report(
            seconds=(history.end - history.start) / 1e9,
            events=len(self._recording.events),
            lost=self._recording.lost,
            complete=self._recording.complete,
            command=list(self._recording.start.get("command", [])),
            requests=len(history.requests),
            waits=waits(waited),
            buffers=sorted(self._buffers(), key=lambda row: row.waits.total_ns, reverse=True),
            processes=sorted(self._processes(), key=lambda row: row.waits.total_ns, reverse=True),
            devices=sorted(self._devices(), key=lambda row: row.busy_ns, reverse=True),
            longest=[self._wait(request) for request in waited[:longest]],
            incidents=sorted(self._incidents(), key=lambda incident: incident.at_ns),
        )

    def _since_start(self, time: int) -> int:
        return time - self._history.start

    def _stretch(self, use: Use) -> tuple[int, int]:
        assert use.granted is not None
        return use.granted, use.held_until(self._history.end)

    def _buffers(self) -> Iterator[BufferRow]:
        uses = defaultdict[str, list[Use]](list)
        for use in self._history.uses:
            uses[use.ino].append(use)
        for ino in self._names.inodes():
            of_buffer = uses[ino]
            yield BufferRow(
                buffer=self._names.buffer(ino),
                inode=int(ino),
                size=self._names.size(ino),
                uses=len(of_buffer),
                held_ns=covered(self._stretch(use) for use in of_buffer if use.granted is not None),
                waits=_summary(
                    self._waited(use) for use in of_buffer if use.waited_from is not None
                ),
                revoked=sum(use.outcome is Outcome.REVOKED for use in of_buffer),
                strict_faults=sum(touch.ino == ino for touch in self._history.touches),
            )

    def _waited(self, use: Use) -> int:
        """How long it waited for this very buffer: until nobody was in the way."""
        assert use.waited_from is not None
        end = use.held_until(self._history.end) if use.granted is None else use.granted
        if use.blocker and len(use.request.uses) > 1:
            end = min(end, use.blocker.held_until(end))
        return max(end - use.waited_from, 0)

    def _processes(self) -> Iterator[ProcessRow]:
        blocking = defaultdict[int, int](int)
        for request in self._history.requests:
            if request.has_waited and request.last.blocker:
                blocking[request.last.blocker.pid] += request.waited
        for pid in self._by_pid.keys() | blocking.keys():
            requests = self._by_pid.get(pid, [])
            yield ProcessRow(
                process=self._names.process(pid),
                pid=pid,
                requests=len(requests),
                waits=waits(requests),
                blocking_ns=blocking[pid],
                revoked=sum(request.outcome is Outcome.REVOKED for request in requests),
                deadlocks=sum(request.outcome is Outcome.DEADLOCK for request in requests),
            )

    def _devices(self) -> Iterator[DeviceRow]:
        history = self._history
        for device in {job.device for job in history.jobs}:
            jobs = [job for job in history.jobs if job.device == device]
            yield DeviceRow(
                device=device,
                jobs=len(jobs),
                failed=sum(job.status != 0 for job in jobs),
                busy_ns=covered(
                    (job.started, history.end if job.ended is None else job.ended)
                    for job in jobs
                    if job.started is not None
                ),
                waits=waits(job.request for job in jobs if job.request),
                behind_fences=_summary(
                    job.started - job.published for job in jobs if job.started is not None
                ),
            )

    def _wait(self, request: Request) -> Wait:
        last = request.last
        return Wait(
            at_ns=self._since_start(request.asked),
            process=self._names.process(request.pid),
            kind=request.kind,
            mode=last.mode,
            buffer=self._names.buffer(last.ino),
            buffers=len(request.uses),
            waited_ns=request.waited,
            outcome=request.outcome.value,
            chain=tuple(self._chain(request)),
        )

    def _chain(self, request: Request) -> Iterator[Link]:
        """Follow blockers; who was not waiting itself meanwhile is the last."""
        start, end = request.asked, request.asked + request.waited
        seen = {id(request)}
        blocker = request.last.blocker
        while blocker is not None and len(seen) < _LONGEST_CHAIN:
            own = blocker.request
            yield Link(
                process=self._names.process(blocker.pid),
                kind=blocker.kind,
                mode=blocker.mode,
                buffer=self._names.buffer(blocker.ino),
                waited_ns=own.waited if own.has_waited else 0,
            )
            following = self._meanwhile(own, start, end)
            if following is None or id(following) in seen:
                return
            seen.add(id(following))
            blocker = following.last.blocker

    def _meanwhile(self, own: Request, start: int, end: int) -> Request | None:
        """What the owner of a request waited for longest in that time."""
        best, longest = None, 0
        for other in self._by_pid[own.pid]:
            # A process's fcntl locks have one owner; sync objects may belong to other threads.
            if other.owner == own.owner and other.has_waited and other.last.blocker:
                common = min(end, other.asked + other.waited) - max(start, other.asked)
                if common > longest:
                    best, longest = other, common
        return best

    def _incidents(self) -> Iterator[Incident]:
        for use in self._history.uses:
            if use.outcome in (Outcome.REVOKED, Outcome.DEADLOCK):
                end = use.held_until(self._history.end)
                yield Incident(
                    at_ns=self._since_start(end),
                    what=use.outcome.value,
                    process=self._names.process(use.pid),
                    mode=use.mode,
                    buffer=self._names.buffer(use.ino),
                    held_ns=0 if use.granted is None else end - use.granted,
                )
        for touch in self._history.touches:
            yield Incident(
                at_ns=self._since_start(touch.time),
                what="touched without a lock",
                process=f"{touch.comm} {touch.pid}",
                mode=touch.mode,
                buffer=self._names.buffer(touch.ino),
                held_ns=0,
            )
