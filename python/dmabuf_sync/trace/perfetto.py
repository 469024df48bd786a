# SPDX-License-Identifier: MIT
"""A history as a Perfetto trace: https://ui.perfetto.dev opens it. Needs protobuf."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import perfetto_schema as schema
from .history import History, Job, Outcome, Request, Use
from .names import Names
from .recording import Recording
from .spans import lanes

_SEQUENCE = 1
Value = int | str


@dataclass(frozen=True)
class Slice:
    """A bar on a track, or with `end` equal to `start` and `instant` a mark."""

    start: int
    end: int
    name: str
    category: str
    args: dict[str, Value] = field(default_factory=dict)
    flows: tuple[int, ...] = ()
    """That begin here."""
    arrivals: tuple[int, ...] = ()
    """Flows that end here."""
    instant: bool = False


def convert(recording: Recording, history: History) -> bytes:
    """The trace: a track for each buffer, device and process, flows from request to grant.

    Times become CLOCK_BOOTTIME, Perfetto's usual clock, so that other traces of the machine fit.
    """
    trace = _Trace(recording.boot_offset)
    trace.add_clocks(recording.start.get("clocks", {}))
    _Tracks(trace, history, Names(recording, history)).add()
    return trace.serialize()


class _Trace:
    """Packets: descriptors first, then events in order of time."""

    def __init__(self, offset: int) -> None:
        self._trace = schema.MESSAGES["Trace"]()
        self._events: list[tuple[int, Any]] = []
        self._offset = offset
        self._uuid = 0

    def _packet(self) -> Any:
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = _SEQUENCE
        if len(self._trace.packet) == 1:
            packet.sequence_flags = schema.INCREMENTAL_STATE_CLEARED
        return packet

    def add_clocks(self, clocks: dict[str, int]) -> None:
        """How the clocks were related at the start."""
        ids = {
            "realtime": schema.REALTIME,
            "monotonic": schema.MONOTONIC,
            "boottime": schema.BOOTTIME,
        }
        if not ids.keys() <= clocks.keys():
            return
        packet = self._packet()
        packet.timestamp = clocks["boottime"]
        for name, number in ids.items():
            packet.clock_snapshot.clocks.add(clock_id=number, timestamp=clocks[name])
        packet.clock_snapshot.primary_trace_clock = schema.BOOTTIME

    def track(
        self, name: str, parent: int = 0, *, rank: int = 0, pid: int = 0, description: str = ""
    ) -> int:
        """Add a track and return its uuid; one with a `pid` is that process's."""
        self._uuid += 1
        made = self._packet().track_descriptor
        made.uuid = self._uuid
        if parent:
            made.parent_uuid = parent
            made.sibling_order_rank = rank
        if description:
            made.description = description
        made.child_ordering = schema.EXPLICIT
        if pid:
            made.process.pid = pid
            made.process.process_name = name
        else:
            made.name = name
        return self._uuid

    def slices(self, name: str, parent: int, rank: int, slices: list[Slice]) -> None:
        """Add slices in as many tracks as they need; Perfetto shows those of one name as one."""
        for lane in lanes(slices):
            track = self.track(name, parent, rank=rank)
            for each in lane:
                self._add(each, track)

    def _add(self, each: Slice, track: int) -> None:
        packet = schema.MESSAGES["TracePacket"]()
        event = packet.track_event
        event.type = schema.INSTANT if each.instant else schema.SLICE_BEGIN
        event.track_uuid = track
        event.name = each.name
        event.categories.append(each.category)
        event.flow_ids.extend(each.flows)
        event.terminating_flow_ids.extend(each.arrivals)
        for key, value in each.args.items():
            note = event.debug_annotations.add(name=key)
            if isinstance(value, int):
                note.int_value = value
            else:
                note.string_value = value
        self._events.append((each.start, packet))
        if not each.instant:
            packet = schema.MESSAGES["TracePacket"]()
            packet.track_event.type = schema.SLICE_END
            packet.track_event.track_uuid = track
            self._events.append((each.end, packet))

    def serialize(self) -> bytes:
        # Stable: what begins and ends at the same time stays in the order of its track.
        for time, packet in sorted(self._events, key=lambda event: event[0]):
            packet.timestamp = time + self._offset
            packet.trusted_packet_sequence_id = _SEQUENCE
            self._trace.packet.append(packet)
        self._events.clear()
        data: bytes = self._trace.SerializeToString()
        return data


class _Tracks:
    """Makes the tracks of a history."""

    def __init__(self, trace: _Trace, history: History, names: Names) -> None:
        self._trace = trace
        self._history = history
        self._names = names
        self._flows: dict[int, int] = {}

    def _flow(self, of: Use | Job) -> tuple[int, ...]:
        """The flow of a use, from its request to its grant, or of a job to its start."""
        return (self._flows.setdefault(id(of), len(self._flows) + 1),)

    def add(self) -> None:
        # First where flows begin: of what happens at the same time, Perfetto wants that first.
        self._processes()
        self._buffers()
        self._devices()

    def _buffers(self) -> None:
        holds, waits, marks = (defaultdict[str, list[Slice]](list) for _ in range(3))
        for use in self._history.uses:
            if use.waited_from is not None:
                waits[use.ino].append(self._buffer_wait(use))
            if use.granted is not None and not use.merged:
                holds[use.ino].append(self._hold(use))
            if use.outcome is Outcome.REVOKED:
                marks[use.ino].append(self._mark(use, "revoked"))
        for touch in self._history.touches:
            name = f"SIGBUS: {touch.mode} without a lock"
            args: dict[str, Value] = {"offset": touch.offset, "process": touch.comm}
            marks[touch.ino].append(
                Slice(touch.time, touch.time, name, "strict", args, instant=True)
            )
        group = self._trace.track("Buffers")
        for rank, ino in enumerate(self._names.inodes()):
            title, more = self._names.buffer(ino), self._names.describe(ino)
            parent = self._trace.track(title, group, rank=rank, description=more)
            self._trace.slices("held", parent, 0, holds[ino])
            self._trace.slices("waiting", parent, 1, waits[ino])
            self._trace.slices("marks", parent, 2, marks[ino])

    def _hold(self, use: Use) -> Slice:
        assert use.granted is not None
        return Slice(
            use.granted,
            use.held_until(self._history.end),
            f"{use.mode} {self._names.process(use.pid)}",
            "hold",
            self._args(use),
            arrivals=self._flow(use) if _is_shown(use.request) else (),
        )

    def _buffer_wait(self, use: Use) -> Slice:
        assert use.waited_from is not None
        end = self._wait_end(use)
        title = f"{use.mode} {self._names.process(use.pid)}"
        return Slice(use.waited_from, end, title, "wait", self._args(use))

    def _wait_end(self, use: Use) -> int:
        if use.granted is not None:
            return use.granted
        return use.held_until(self._history.end)

    def _mark(self, use: Use, name: str) -> Slice:
        end = use.held_until(self._history.end)
        return Slice(end, end, name, name, self._args(use), instant=True)

    def _args(self, use: Use) -> dict[str, Value]:
        args: dict[str, Value] = {
            "kind": use.kind,
            "mode": use.mode,
            "process": self._names.process(use.pid),
            "outcome": use.outcome.value,
            "bytes": self._names.bytes(use),
        }
        if use.blocker:
            args["blocked by"] = self._names.use(use.blocker)
        if use.granted_by:
            args["granted by"] = use.granted_by
        return args

    def _devices(self) -> None:
        by_device = defaultdict[str, list[Job]](list)
        for job in self._history.jobs:
            by_device[job.device].append(job)
        if not by_device:
            return
        group = self._trace.track("Devices")
        for rank, (device, jobs) in enumerate(sorted(by_device.items())):
            parent = self._trace.track(device, group, rank=rank)
            runs = [self._run(job) for job in jobs if job.started is not None]
            behind = [self._behind(job) for job in jobs]
            self._trace.slices("jobs", parent, 0, runs)
            self._trace.slices("behind other fences", parent, 1, behind)

    def _run(self, job: Job) -> Slice:
        assert job.started is not None
        end = self._history.end if job.ended is None else job.ended
        flows = self._flow(job) if job.request else ()
        return Slice(
            job.started, end, self._names.job(job), "job", self._job_args(job), arrivals=flows
        )

    def _behind(self, job: Job) -> Slice:
        end = self._history.end if job.started is None else job.started
        return Slice(job.published, end, self._names.job(job), "fence", self._job_args(job))

    def _job_args(self, job: Job) -> dict[str, Value]:
        args: dict[str, Value] = {
            "context": job.context,
            "seqno": job.seqno,
            "status": job.status,
        }
        if job.request:
            args["process"] = self._names.process(job.request.pid)
        return args

    def _processes(self) -> None:
        requests = defaultdict[int, list[Request]](list)
        for request in self._history.requests:
            requests[request.pid].append(request)
        for pid, of_process in sorted(requests.items()):
            name = self._history.comms.get(pid, "") if pid else self._names.process(pid)
            track = self._trace.track(name, pid=pid)
            waits = [wait for request in of_process for wait in self._request(request)]
            self._trace.slices("waits", track, 0, [each for each in waits if not each.instant])
            self._trace.slices("holds", track, 1, list(self._holds(of_process)))
            self._trace.slices("marks", track, 2, [each for each in waits if each.instant])

    def _request(self, request: Request) -> Iterator[Slice]:
        """The wait of a request, from which flows lead to its grants and its job."""
        end = max((self._wait_end(use) for use in request.uses), default=request.asked)
        job = request.job
        title = ", ".join(f"{use.mode} {self._names.buffer(use.ino)}" for use in request.uses)
        args: dict[str, Value] = {"kind": request.kind, "outcome": request.outcome.value}
        args["waited_ns"] = request.waited
        if request.last.blocker:
            args["blocked by"] = self._names.use(request.last.blocker)
        if _is_shown(request):
            name = f"job: {title}" if request.kind == "job" else title
            flows = self._flow(job) if job and job.started is not None else ()
            for use in request.uses:
                if use.granted is not None and not use.merged:
                    flows += self._flow(use)
            yield Slice(request.asked, end, name, "wait", args, flows)
        if request.outcome is Outcome.DEADLOCK:
            yield Slice(end, end, f"EDEADLK: {title}", "deadlock", args, instant=True)

    def _holds(self, requests: list[Request]) -> Iterator[Slice]:
        for request in requests:
            for use in request.uses:
                if use.granted is not None and not use.merged and request.kind != "job":
                    end = use.held_until(self._history.end)
                    name = f"{use.mode} {self._names.buffer(use.ino)}"
                    yield Slice(use.granted, end, name, "hold", self._args(use))


def _is_shown(request: Request) -> bool:
    """It has a slice of its own: it waited, or is a job, whose process goes on meanwhile."""
    return request.has_waited or request.job is not None
