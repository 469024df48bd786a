# SPDX-License-Identifier: MIT
"""The parser of trace logs, and files with recordings: whole, cut off, compressed, foreign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dmabuf_sync.trace import Event, Lost, load, parse, read
from dmabuf_sync.trace.buffers import Buffer
from dmabuf_sync.trace.recording import Writer

ACCESS = (
    "ino=30 resv=0000000002a4a42f owner=58fb16e0 access=f73e3259 kind=sync type=W|DMA start=0"
    " end=9223372036854775807 pid=267 pending=0 since_ns=0 left_ns=-206467357001"
)
LINE = f" python3-267     [001] d..1.   206.467357: dmabuf_sync_request: {ACCESS}\n"


def one(line: str) -> Event:
    (event,) = read([line])
    assert isinstance(event, Event)
    return event


def test_line_with_seconds() -> None:
    event = one(LINE)
    assert (event.time, event.cpu, event.comm, event.task) == (206_467_357_000, 1, "python3", 267)
    assert (event.system, event.name) == ("dmabuf_sync", "request")
    assert event.fields["type"] == "W|DMA"
    assert event.number("pid") == 267


@pytest.mark.parametrize(
    "comm", ["kworker/u8:4", "a b-c [001] d", "-1", "<...>", "x-9", "x-9 [001] y"]
)
def test_any_command_name(comm: str) -> None:
    event = one(f"    {comm}-12  [000] .....  77: dmabuf_sync_grant: {ACCESS}\n")
    assert (event.comm, event.task, event.time) == (comm, 12, 77)


def test_names_have_spaces_and_equals_signs() -> None:
    start = " vblit/0-214 [001] ..... 3: dmabuf_sync_job_start: owner=1 context=2 seqno=1 status=0"
    assert one(f"{start} name=my job=2 name=x\n").fields["name"] == "my job=2 name=x"
    line = " x-1 [000] ..... 4: vdmabuf_unlocked_access: ino=7 type=W offset=8 pid=9 comm=a  b\n"
    event = one(line)
    assert (event.system, event.name) == ("vdmabuf", "unlocked_access")
    assert event.fields == {"ino": "7", "type": "W", "offset": "8", "pid": "9", "comm": "a  b"}


def test_thread_groups_may_be_shown() -> None:
    event = one(f"  python3-267  (    260) [001] .....  5: dmabuf_sync_grant: {ACCESS}\n")
    assert (event.task, event.cpu) == (267, 1)


def test_other_lines_are_passed_over() -> None:
    other = ["# tracer: nop\n", "\n", " x-1 [000] ..... 4: sched_switch: a=b\n", LINE[:60]]
    assert list(read(other)) == []


def test_lost_events_are_told() -> None:
    assert list(read(["CPU:1 [LOST 123 EVENTS]\n"])) == [Lost(1, 123)]
    with pytest.raises(ValueError, match="123 events were lost"):
        list(parse(["CPU:1 [LOST 123 EVENTS]\n"]))


def test_events_to_be_replayed_are_in_order() -> None:
    lines = [f" x-1 [000] ..... {n}: dmabuf_sync_grant: {ACCESS}\n" for n in (1, 3, 2)]
    with pytest.raises(ValueError, match="event 2 comes after 3"):
        list(parse(lines))


def write(path: Path, *, lost: int = 0, finish: bool = True) -> None:
    with Writer(path, ["cmd", "a b"]) as writer:
        writer.write(LINE.encode())
        writer.add_buffer(Buffer("30", "frame 0", "vdmabuf", 4096))
        writer.write(LINE.replace("206.467357", "206.400000").encode())
        if finish:
            writer.finish(lost=lost, status=3)


@pytest.mark.parametrize("name", ["run.dsync", "run.dsync.gz"])
def test_recording_comes_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path, lost=5)
    loaded = load(path)
    assert loaded.start["command"] == ["cmd", "a b"]
    assert loaded.boot_offset == loaded.start["clocks"]["boottime"] - (
        loaded.start["clocks"]["monotonic"]
    )
    assert [event.time for event in loaded.events] == [206_400_000_000, 206_467_357_000]
    assert loaded.buffers == {"30": Buffer("30", "frame 0", "vdmabuf", 4096)}
    assert (loaded.complete, loaded.end["status"], loaded.lost) == (True, 3, 5)


@pytest.mark.parametrize("name", ["run.dsync", "run.dsync.gz"])
def test_recording_may_be_cut_off_anywhere(tmp_path: Path, name: str) -> None:
    """Whatever of it is left, what was written as a whole before is there."""
    path = tmp_path / name
    write(path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] if name.endswith(".gz") else data[:-8])
    loaded = load(path)
    assert len(loaded.events) == 2
    seen = []
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            loaded = load(path)
        except ValueError as error:
            assert "not a recording" in str(error)
        else:
            seen.append(len(loaded.events))
    assert seen == sorted(seen)
    assert {0, 1, 2} == set(seen)


def test_killed_recording_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync"
    write(path, finish=False)
    assert not load(path).complete


def test_lost_events_of_a_recording_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync"
    path.write_text(f"CPU:1 [LOST 4 EVENTS]\n{LINE}CPU:0 [LOST 3 EVENTS]\n")
    assert load(path).lost == 7


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data in (b"", b"hello\n", b"\x1f\x8b broken", bytes(range(256))):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is not a recording"):
            load(path)
    path.write_text(f"# dmabuf-sync-recording {json.dumps({'version': 2})}\n")
    with pytest.raises(ValueError, match="x, line 1: the recording is of format 2"):
        load(path)


def test_full_disk_is_named() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        Writer("/dev/full", [])
    assert caught.value.filename == "/dev/full"


def test_what_cannot_be_read_is_named() -> None:
    with pytest.raises(OSError, match="Input/output") as caught:
        load("/proc/self/mem")
    assert caught.value.filename == "/proc/self/mem"
