# SPDX-License-Identifier: MIT
"""Reports and timelines of two recordings that were made in the guest.

In waiters.dsync, camera, encoder and preview are processes that wait for each other for the buffers
frame and copy, and a deadlock is refused. stress.dsync.gz is of `dmabuf-sync stress`: jobs, sets,
revoked holds.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dmabuf_sync.trace import History, Recording, history_of, load
from dmabuf_sync.trace.names import Names
from dmabuf_sync.trace.report import Report, covered, report
from dmabuf_sync.trace.spans import lanes

HERE = Path(__file__).parent
PROCESSES = {"camera", "encoder", "preview"}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return load(HERE / "waiters.dsync")


@pytest.fixture(scope="module")
def stress() -> Recording:
    return load(HERE / "stress.dsync.gz")


@pytest.fixture(scope="module", params=["waiters", "stress"])
def either(request: pytest.FixtureRequest, recording: Recording, stress: Recording) -> Recording:
    return recording if request.param == "waiters" else stress


@pytest.fixture(scope="module")
def history(recording: Recording) -> History:
    return history_of(recording.events)


@pytest.fixture(scope="module")
def told(recording: Recording, history: History) -> Report:
    return report(recording, history)


def test_report_of_buffers(told: Report) -> None:
    rows = {row.buffer: row for row in told.buffers}
    assert rows.keys() == {"frame", "copy"}
    assert all(row.size == 65536 for row in rows.values())
    assert [row.waits.total_ns for row in told.buffers] == sorted(
        (row.waits.total_ns for row in told.buffers), reverse=True
    )
    assert 0 < rows["frame"].held_ns <= told.seconds * 1e9


def test_report_of_processes(told: Report) -> None:
    rows = {row.process.split()[0]: row for row in told.processes}
    assert rows.keys() == PROCESSES
    assert rows["encoder"].deadlocks == 1
    assert rows["camera"].blocking_ns > 0
    assert rows["preview"].blocking_ns == 0
    assert rows["preview"].waits.count == 1


def test_chain_goes_through_who_was_waiting_meanwhile(told: Report) -> None:
    wait = next(wait for wait in told.longest if wait.process.startswith("preview"))
    links = [(link.process.split()[0], link.mode, link.buffer) for link in wait.chain]
    assert links == [("encoder", "R", "copy"), ("camera", "W", "frame")]
    assert wait.outcome == "released"


def test_incident(told: Report) -> None:
    (incident,) = told.incidents
    assert (incident.what, incident.process.split()[0]) == ("deadlock", "encoder")
    assert (incident.mode, incident.buffer, incident.held_ns) == ("W", "frame", 0)


def test_revoked_holds_are_told(stress: Recording) -> None:
    told = report(stress, history_of(stress.events))
    assert len(told.incidents) == sum(event.name == "revoke" for event in stress.events) > 0
    assert {row.what for row in told.incidents} == {"revoked"}
    assert all(row.held_ns >= 20_000_000 for row in told.incidents)
    times = [row.at_ns for row in told.incidents]
    assert times == sorted(times)


def test_report_of_the_device(stress: Recording) -> None:
    (device,) = report(stress, history_of(stress.events)).devices
    jobs = sum(event.name == "job_start" for event in stress.events)
    assert (device.device, device.jobs, device.failed) == ("vblit", jobs, 0)
    assert device.behind_fences.count == jobs
    assert 0 < device.waits.count <= jobs


def test_sums_agree(either: Recording) -> None:
    told = report(either, history_of(either.events))
    assert told.waits.count == sum(row.waits.count for row in told.processes)
    assert told.waits.total_ns == sum(row.waits.total_ns for row in told.processes)
    assert told.waits.p50_ns <= told.waits.p90_ns <= told.waits.p99_ns <= told.waits.max_ns
    assert told.longest[0].waited_ns == told.waits.max_ns
    assert told.requests == sum(row.requests for row in told.processes)


def test_time_that_several_share_counts_once() -> None:
    assert covered([(0, 10), (5, 15), (20, 30), (22, 25)]) == 25
    assert covered([]) == 0


class Tracks:
    """A Perfetto trace that was read again, with what must be right in each."""

    def __init__(self, data: bytes, trace: Any) -> None:
        self.trace = trace
        self.trace.ParseFromString(data)
        assert self.trace.SerializeToString() == data
        self.names: dict[int, str] = {}
        self.parents: dict[int, int] = {}
        self.events: dict[int, list[Any]] = defaultdict(list)
        self.place: dict[int, int] = {}
        """Of an event, by id(), in the file."""
        for number, packet in enumerate(self.trace.packet):
            assert packet.trusted_packet_sequence_id == 1
            if packet.HasField("track_descriptor"):
                self._add(packet.track_descriptor)
            elif packet.HasField("track_event"):
                assert packet.track_event.track_uuid in self.names
                self.events[packet.track_event.track_uuid].append(packet)
                self.place[id(packet)] = number

    def _add(self, track: Any) -> None:
        assert track.uuid not in self.names
        assert not track.parent_uuid or track.parent_uuid in self.names
        self.names[track.uuid] = track.process.process_name or track.name
        assert self.names[track.uuid]
        self.parents[track.uuid] = track.parent_uuid

    def below(self, name: str) -> set[str]:
        (top,) = (uuid for uuid, own in self.names.items() if own == name)
        return {self.names[uuid] for uuid, parent in self.parents.items() if parent == top}


@pytest.fixture(scope="module")
def tracks(either: Recording) -> Tracks:
    perfetto = pytest.importorskip("dmabuf_sync.trace.perfetto")
    trace = perfetto.schema.MESSAGES["Trace"]()
    return Tracks(perfetto.convert(either, history_of(either.events)), trace)


def test_perfetto_itself_reads_what_we_mean(recording: Recording, stress: Recording) -> None:
    from google.protobuf.json_format import MessageToDict
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as theirs

    from dmabuf_sync.trace import perfetto

    for each in (recording, stress):
        data = perfetto.convert(each, history_of(each.events))
        # Names and values of all fields; enums are numbers to us.
        ours, same = (
            MessageToDict(
                kind.FromString(data), preserving_proto_field_name=True, use_integers_for_enums=True
            )
            for kind in (perfetto.schema.MESSAGES["Trace"], theirs.Trace)
        )
        assert len(same["packet"]) > 50
        assert ours == same


def test_perfetto_has_a_track_for_each(tracks: Tracks) -> None:
    top = {tracks.names[uuid] for uuid, parent in tracks.parents.items() if not parent}
    if "Devices" in top:
        assert tracks.below("Devices") == {"vblit"}
        assert tracks.below("Buffers") == {"stress 0", "stress 1", "stress 2"}
        assert top == {"Buffers", "Devices", "python3"}
    else:
        assert tracks.below("Buffers") == {"frame", "copy"}
        assert top == {"Buffers", *PROCESSES}


KINDS = {1: "BEGIN", 2: "END", 3: "INSTANT"}
"""As trace_event.type has them in the format."""


def test_perfetto_slices_are_balanced_and_in_order(tracks: Tracks) -> None:
    assert sum(map(len, tracks.events.values())) > 30
    for packets in tracks.events.values():
        depth, last = 0, 0
        for packet in packets:
            assert packet.timestamp >= last
            last = packet.timestamp
            depth += {"BEGIN": 1, "END": -1, "INSTANT": 0}[KINDS[packet.track_event.type]]
            assert 0 <= depth <= 1
        assert depth == 0


def test_perfetto_flows_lead_from_requests_to_grants(tracks: Tracks, either: Recording) -> None:
    begins: dict[int, Any] = {}
    ends: dict[int, Any] = {}
    for packets in tracks.events.values():
        for packet in packets:
            for flows, found in (
                (packet.track_event.flow_ids, begins),
                (packet.track_event.terminating_flow_ids, ends),
            ):
                for flow in flows:
                    assert flow not in found
                    found[flow] = packet
    assert begins.keys() == ends.keys()
    kinds: Counter[tuple[str, str]] = Counter()
    for flow, begin in begins.items():
        assert begin.timestamp <= ends[flow].timestamp
        assert tracks.place[id(begin)] < tracks.place[id(ends[flow])]
        from_, to = (p.track_event.categories[0] for p in (begin, ends[flow]))
        kinds[from_, to] += 1
    assert kinds[("wait", "hold")] >= 3
    assert set(kinds) <= {("wait", "hold"), ("wait", "job")}
    jobs = sum(event.name == "job_start" for event in either.events)
    assert kinds[("wait", "job")] == jobs


def test_perfetto_times_are_boot_time(tracks: Tracks, either: Recording) -> None:
    # Nobody waited for the first, so its request is not shown.
    first = next(event.time for event in either.events if event.name == "grant")
    times = [packet.timestamp for packets in tracks.events.values() for packet in packets]
    assert min(times) == first + either.boot_offset
    assert either.boot_offset > 0
    (clocks,) = (p.clock_snapshot for p in tracks.trace.packet if p.HasField("clock_snapshot"))
    assert {clock.clock_id for clock in clocks.clocks} == {1, 3, 6}


def test_pictures_show_every_row(recording: Recording, history: History, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    from dmabuf_sync.trace import picture

    for suffix in picture.SUFFIXES:
        picture.save(recording, history, tmp_path / f"all{suffix}")
    root = ElementTree.parse(tmp_path / "all.svg").getroot()
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    names = Names(recording, history)
    assert {"frame", "copy"} <= texts
    assert {names.process(pid) for pid in history.comms} <= texts
    tips = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(tip and "waits" in tip and tip.startswith("preview") for tip in tips)
    with pytest.raises(ValueError, match="nothing was recorded"):
        picture.save(recording, history, tmp_path / "late.svg", start=1000)


def test_picture_of_a_part_has_the_times_of_the_whole(stress: Recording, tmp_path: Path) -> None:
    from dmabuf_sync.trace import picture

    path = tmp_path / "part.svg"
    picture.save(stress, history_of(stress.events), path, start=2.45, length=0.1)
    root = ElementTree.parse(path).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"2450 ms", "2500 ms", "2550 ms"} <= {*texts}
    assert "0 ms" not in texts


def test_picture_shows_what_was_revoked_or_refused(
    recording: Recording, stress: Recording, tmp_path: Path
) -> None:
    from dmabuf_sync.trace import picture

    for of, outcome in ((recording, "deadlock"), (stress, "revoked")):
        picture.save(of, history_of(of.events), tmp_path / "all.svg")
        text = (tmp_path / "all.svg").read_text()
        uses = [use for use in history_of(of.events).uses if use.outcome.value == outcome]
        # A bar and its end, in the row of the buffer and in that of the process; jobs have one row.
        rows = sum(1 if use.kind == "job" else 2 for use in uses)
        assert text.count(f", {outcome}</title>") == 2 * rows > 0


class Span:
    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end


def test_lanes_have_no_overlaps_and_are_few() -> None:
    spans = [Span(0, 10), Span(5, 7), Span(7, 9), Span(10, 12), Span(3, 3), Span(11, 11)]
    made = lanes(spans)
    assert sum(map(len, made)) == len(spans)
    assert len(made) == 2
    for lane in made:
        assert all(one.end <= two.start for one, two in pairwise(lane))
