# SPDX-License-Identifier: MIT
"""Histories: the events of a recording put together to uses of buffers, requests and jobs."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .accesses import Access, Queue, State
from .events import Event


class Outcome(enum.Enum):
    """How a use of a buffer ended."""

    OPEN = "open"
    """The recording ended first."""
    RELEASED = "released"
    REVOKED = "revoked"
    CANCELLED = "cancelled"
    """Not granted: would have blocked, a signal, a timeout."""
    DEADLOCK = "deadlock"


@dataclass(eq=False)
class Use(Access):
    """One owner's use of one buffer, from asking to giving back; times are Event.time, or None."""

    request: Request = field(init=False, repr=False)
    asked: int = 0
    waited_from: int | None = None
    granted: int | None = None
    complete: int | None = None
    """From here on the caches are right and the holder knows."""
    ended: int | None = None
    """Given back, taken away or given up."""
    outcome: Outcome = Outcome.OPEN
    merged: Use | None = field(default=None, repr=False)
    """What its fcntl owner had before, to which it was added."""
    in_the_way: list[Use] = field(default_factory=list, repr=False)
    """Who held it or waited in front when it began to wait."""
    blocker: Use | None = field(default=None, repr=False)
    """The one of them that kept it longest."""
    granted_by: str = ""
    """The command that ran when it was granted: whoever made it possible."""

    @property
    def mode(self) -> str:
        """ "R" or "W", with " DMA" for a device."""
        writes = "W" if any(piece.writes for piece in self.pieces) else "R"
        return f"{writes} DMA" if self.dma else writes

    def held_until(self, end: int) -> int:
        """When it ended; `end` while it has not."""
        use = self
        while use.merged:
            use = use.merged
        return end if use.ended is None else use.ended


@dataclass(eq=False)
class Request:
    """What an owner asked for at once: the uses are granted together or not at all."""

    owner: str
    kind: str
    pid: int
    comm: str
    asked: int
    uses: list[Use] = field(default_factory=list)
    granted: int | None = None
    waited: int = 0
    """Nanoseconds from asking to the grant or the end; the kernel's own measure, exact."""
    outcome: Outcome = Outcome.OPEN
    job: Job | None = None

    @property
    def has_waited(self) -> bool:
        """It was in a queue, so it was not granted at once."""
        return any(use.waited_from is not None for use in self.uses)

    @property
    def last(self) -> Use:
        """The use that was kept longest."""
        return max(self.uses, key=lambda use: use.blocker.held_until(0) if use.blocker else -1)


@dataclass(eq=False)
class Job:
    """DMA. Its device is named as its driver's sync objects are."""

    device: str
    context: int
    seqno: int
    request: Request | None
    published: int
    started: int | None = None
    ended: int | None = None
    status: int = 0
    """0 or a negative errno."""


@dataclass(frozen=True)
class Touch:
    """A strict buffer was touched without a lock; the process got SIGBUS."""

    time: int
    ino: str
    pid: int
    comm: str
    mode: str
    offset: int


@dataclass
class History:
    """All that a recording tells. Inode numbers name buffers."""

    start: int = 0
    end: int = 0
    uses: list[Use] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    comms: dict[int, str] = field(default_factory=dict)
    """The command of each process that asked for something."""


def history_of(events: Iterable[Event]) -> History:
    """Put events together. They may begin and end anywhere, and some may be missing."""
    builder = _Builder()
    for event in events:
        builder.feed(event)
    return builder.history


class _Builder:
    """The state of all queues, as far as the events so far tell."""

    def __init__(self) -> None:
        self.history = History()
        self._queues: dict[str, Queue[Use]] = defaultdict(Queue)
        self._live: dict[str, Use] = {}
        self._asking: dict[str, Request] = {}
        self._owned: dict[str, Request] = {}
        self._jobs: dict[str, Job] = {}

    def feed(self, event: Event) -> None:
        history = self.history
        history.start = history.start or event.time
        history.end = max(history.end, event.time)
        handler: Callable[[Event], None] | None = getattr(self, f"_on_{event.name}", None)
        if handler:
            handler(event)

    def _use(self, event: Event) -> Use | None:
        return self._live.get(event.fields["access"])

    # From the request to the grant.

    def _on_request(self, event: Event) -> None:
        use = Use.of(event)
        self._forget(use.name)
        # Who asks is who runs; its main thread's name is not known, but seldom another.
        self.history.comms[use.pid] = event.comm
        request = self._asking.get(use.owner)
        if request is None or use.is_fcntl:
            request = Request(use.owner, use.kind, use.pid, event.comm, event.time)
            self._asking[use.owner] = request
            self._owned[use.owner] = request
            self.history.requests.append(request)
        self._add(use, request, event)

    def _add(self, use: Use, request: Request, event: Event) -> None:
        use.request = request
        use.asked = event.time
        request.uses.append(use)
        self._live[use.name] = use
        self.history.uses.append(use)

    def _forget(self, name: str) -> None:
        """An event that would have ended this use was lost."""
        use = self._live.pop(name, None)
        if use:
            self._off_the_lists(use)

    def _off_the_lists(self, use: Use) -> None:
        queue = self._queues[use.resv]
        for entries in (queue.granted, queue.waiting):
            if use in entries:
                entries.remove(use)

    def _on_wait(self, event: Event) -> None:
        use = self._use(event)
        if use is None:
            return
        use.waited_from = event.time
        use.state = State.WAITING
        queue = self._queues[use.resv]
        waiting = queue.waiting
        names = [other.name for other in waiting]
        before = event.fields["before"]
        place = names.index(before) if before in names else len(names)
        use.in_the_way = [
            other
            for other in (*queue.granted, *waiting[:place])
            # Most exporters' caches can only be cleaned as a whole between the CPU and a device.
            if other.conflicts(use) or (use.dma != other.dma and use.owner != other.owner)
        ]
        waiting.insert(place, use)

    def _on_overtake(self, event: Event) -> None:
        use = self._use(event)
        other = self._live.get(event.fields["before"])
        if use and other and use.state is other.state is State.WAITING:
            waiting = self._queues[use.resv].waiting
            waiting.remove(use)
            waiting.insert(waiting.index(other), use)
            if use not in other.in_the_way:
                other.in_the_way.append(use)

    def _on_deadlock(self, event: Event) -> None:
        use = self._use(event)
        if use:
            use.outcome = use.request.outcome = Outcome.DEADLOCK

    def _on_cancel(self, event: Event) -> None:
        use = self._live.pop(event.fields["access"], None)
        if use is None:
            return
        self._off_the_lists(use)
        use.ended = event.time
        use.granted = None
        if use.outcome is not Outcome.DEADLOCK:
            use.outcome = use.request.outcome = Outcome.CANCELLED
        use.request.waited = max(use.request.waited, event.number("since_ns"))
        self._asked(use.request)
        self._find_blocker(use, event.time)

    def _asked(self, request: Request) -> None:
        if self._asking.get(request.owner) is request:
            del self._asking[request.owner]

    def _on_grant(self, event: Event) -> None:
        use = self._use(event)
        if use is None:
            return
        self._off_the_lists(use)
        self._queues[use.resv].granted.append(use)
        use.state = State.PENDING
        use.granted = use.request.granted = event.time
        use.granted_by = event.comm
        use.request.waited = max(use.request.waited, event.number("since_ns"))
        self._asked(use.request)
        self._find_blocker(use, event.time)

    @staticmethod
    def _find_blocker(use: Use, now: int) -> None:
        """Of those in the way, it is the last to go; the CPU may pass who is leaving."""
        use.blocker = max(use.in_the_way, key=lambda other: other.held_until(now), default=None)

    # From the grant to the release.

    def _on_hold(self, event: Event) -> None:
        use = self._use(event)
        if use is None:
            # A posix record from before the module was there, or from before this recording.
            use = Use.of(event)
            use.granted = event.time
            pid, comm = use.pid, self.history.comms.get(use.pid, "")
            self._add(use, Request(use.owner, use.kind, pid, comm, event.time), event)
            self._queues[use.resv].granted.append(use)
        use.complete = event.time
        if use.is_fcntl:
            for held in self._queues[use.resv].held_by(use.owner):
                if held is not use and held.state is State.HELD and held.ino == use.ino:
                    held.add(use)
                    use.merged = held
                    use.outcome = Outcome.RELEASED
                    use.ended = event.time
                    self._forget(use.name)
                    return
        use.state = State.HELD

    def _on_unlock(self, event: Event) -> None:
        for held in self._queues[event.fields["resv"]].held_by(event.fields["owner"]):
            if held.state is State.HELD and held.ino == event.fields["ino"]:
                left = [
                    rest
                    for piece in held.pieces
                    for rest in piece.without(event.number("start"), event.number("end"))
                ]
                held.pieces = left or held.pieces

    def _on_revoke(self, event: Event) -> None:
        use = self._use(event)
        if use:
            use.outcome = Outcome.REVOKED
            use.revoked = True

    def _on_leave(self, event: Event) -> None:
        use = self._use(event)
        if use is None:
            return
        use.state = State.LEAVING
        use.ended = event.time
        if use.outcome is Outcome.OPEN:
            use.outcome = Outcome.RELEASED
        if use.request.outcome is Outcome.OPEN:
            use.request.outcome = use.outcome

    def _on_release(self, event: Event) -> None:
        self._forget(event.fields["access"])

    # Jobs, and what else there is.

    def _on_job_publish(self, event: Event) -> None:
        owner = event.fields["owner"]
        job = Job(
            device=event.fields["name"],
            context=event.number("context"),
            seqno=event.number("seqno"),
            request=self._owned.get(owner),
            published=event.time,
        )
        if job.request:
            job.request.job = job
        self._jobs[owner] = job
        self.history.jobs.append(job)

    def _on_job_start(self, event: Event) -> None:
        job = self._jobs.get(event.fields["owner"])
        if job:
            job.started = event.time

    def _on_job_end(self, event: Event) -> None:
        job = self._jobs.pop(event.fields["owner"], None)
        if job:
            job.ended = event.time
            job.status = event.number("status")

    def _on_unlocked_access(self, event: Event) -> None:
        fields = event.fields
        pid, comm, offset = event.number("pid"), fields["comm"], event.number("offset")
        self.history.comms.setdefault(pid, comm)
        touch = Touch(event.time, fields["ino"], pid, comm, fields["type"], offset)
        self.history.touches.append(touch)
