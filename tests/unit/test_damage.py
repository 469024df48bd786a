# SPDX-License-Identifier: MIT
"""Recordings that somebody has edited, or a disk has lost a part of: a sentence, never a bug."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dmabuf_sync.command.main import main
from dmabuf_sync.trace import Damaged, Violation, load, parse, replay
from dmabuf_sync.trace.damage import FIELDS, OWN

HERE = Path(__file__).parent
WAITERS = (HERE / "waiters.dsync").read_bytes().splitlines(keepends=True)
STRESS = gzip.decompress((HERE / "stress.dsync.gz").read_bytes()).splitlines(keepends=True)
# Some of each kind, and jobs.
LINES = WAITERS[:-1] + STRESS[1:90] + WAITERS[-1:]
VALUES = (
    *(b"", b"-1", b"0", b"1", b"x", b"0x10", b"2147483648", b"9223372036854775807"),
    *(b"9223372036854775808", b"9" * 5000, b"\xff\xfe", b"\xc2\xb2", b"R|W|DMA", b"job", b"posix"),
    *(b"null", b"[]", b"{}", b"true", b"1e999", b'"\\ud800"', b"[" * 100_000, b"1.5", b'"7"'),
)

Edit = Callable[[list[bytes]], None]
fuzzed = settings(
    max_examples=30,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],  # what fails is short enough
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def flip(line: int, byte: int, bit: int) -> Edit:
    def edit(lines: list[bytes]) -> None:
        old = bytearray(lines[line % len(lines)])
        old[byte % len(old)] ^= 1 << bit
        lines[line % len(lines)] = bytes(old)

    return edit


def remove(line: int, count: int) -> Edit:
    def edit(lines: list[bytes]) -> None:
        start = line % len(lines)
        del lines[start : min(start + count, len(lines) - 1)]

    return edit


def move(line: int, to: int, keep: bool) -> Edit:
    def edit(lines: list[bytes]) -> None:
        moved = lines[line % len(lines)] if keep else lines.pop(line % len(lines))
        lines.insert(to % (len(lines) + 1), moved)

    return edit


def alter(line: int, word: int, value: bytes) -> Edit:
    """Another value for a field of an event, or of a line of JSON."""

    def edit(lines: list[bytes]) -> None:
        old = lines[line % len(lines)].rstrip(b"\n")
        mark = b": " if old.startswith(b"# ") else b"="
        head, *fields = old.split(mark)
        if not fields:
            return
        place = word % len(fields)
        rest = fields[place].lstrip(b'"').partition(b"," if mark == b": " else b" ")
        fields[place] = value + rest[1] + rest[2]
        lines[line % len(lines)] = mark.join([head, *fields]) + b"\n"

    return edit


def drop(line: int, word: int) -> Edit:
    def edit(lines: list[bytes]) -> None:
        words = lines[line % len(lines)].split(b" ")
        del words[word % len(words)]
        lines[line % len(lines)] = b" ".join(words)

    return edit


NUMBER = st.integers(0, 10_000)
EDITS = st.lists(
    st.one_of(
        st.builds(flip, NUMBER, NUMBER, st.integers(0, 7)),
        st.builds(remove, NUMBER, st.integers(1, 30)),
        st.builds(move, NUMBER, NUMBER, st.booleans()),
        st.builds(alter, NUMBER, NUMBER, st.sampled_from(VALUES)),
        st.builds(drop, NUMBER, NUMBER),
    ),
    min_size=1,
    max_size=8,
)


def edited(edits: list[Edit]) -> list[bytes]:
    lines = list(LINES)
    for edit in edits:
        edit(lines)
    return lines


def said(*arguments: str) -> tuple[int, str, str]:
    """Run the command; its status, output and messages."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def check(path: Path, *arguments: str) -> int:
    """The command ends well, or with one sentence that names the file."""
    status, out, err = said(arguments[0], str(path), *arguments[1:])
    assert status in (0, 1), err
    if status:
        last = err.splitlines()[-1]
        assert last.startswith(f"dmabuf-sync: {path}") or "nothing was recorded" in last
    elif "--json" in arguments:
        assert json.loads(out.splitlines()[0])["type"] == "recording"
    return status


@fuzzed
@given(EDITS)
def test_reports_of_damaged_recordings(tmp_path: Path, edits: list[Edit]) -> None:
    path = tmp_path / "run.dsync"
    path.write_bytes(b"".join(edited(edits)))
    check(path, "report")
    check(path, "report", "--json")


@fuzzed
@given(EDITS, st.sampled_from((".svg", ".png", ".pftrace")))
def test_timelines_of_damaged_recordings(tmp_path: Path, edits: list[Edit], suffix: str) -> None:
    path, output = tmp_path / "run.dsync", tmp_path / f"run{suffix}"
    output.unlink(missing_ok=True)
    path.write_bytes(b"".join(edited(edits)))
    status = check(path, "timeline", "-o", str(output))
    assert output.exists() == (status == 0)


@fuzzed
@given(NUMBER, NUMBER, st.integers(0, 7))
def test_packed_recordings_that_are_damaged(
    tmp_path: Path, byte: int, length: int, bit: int
) -> None:
    path = tmp_path / "run.dsync.gz"
    data = bytearray(gzip.compress(b"".join(LINES), mtime=0))
    data[byte % len(data)] ^= 1 << bit
    path.write_bytes(data[: -(length % 64) or None])
    check(path, "report", "--json")


@fuzzed
@given(EDITS)
def test_replays_of_damaged_logs(edits: list[Edit]) -> None:
    lines = [line.decode(errors="replace") for line in edited(edits)]
    try:
        replay(parse(lines))
    except (Violation, Damaged):
        pass
    except ValueError as error:
        assert "lost" in str(error) or "comes after" in str(error)


def test_replays_in_order_of_damaged_logs() -> None:
    """As above, but past the first violation: every event in every state."""
    from dmabuf_sync.trace import Event, read
    from dmabuf_sync.trace.replay import Rules

    @fuzzed
    @given(st.randoms(use_true_random=False), EDITS)
    def fed(chance: object, edits: list[Edit]) -> None:
        rules = Rules()
        try:
            for event in read(line.decode(errors="replace") for line in edited(edits)):
                if isinstance(event, Event) and event.system == "dmabuf_sync":
                    try:
                        rules.feed(event)
                    except Violation:
                        continue
        except Damaged:
            pass

    fed()


@pytest.mark.parametrize("event", sorted(FIELDS))
def test_each_field_of_an_event_is_asked_for(tmp_path: Path, event: str) -> None:
    """By name, with the number of the line, whichever is missing or cannot be."""
    system = "vdmabuf" if event == "unlocked_access" else "dmabuf_sync"
    good = {
        **{"kind": "posix", "type": "W", "comm": "a", "name": "a", "status": "-5"},
        **{"since_ns": "-1", "left_ns": "7"},
    }
    path = tmp_path / "run.dsync"

    def written(fields: dict[str, str]) -> Path:
        text = " ".join(map("=".join, fields.items()))
        path.write_text(f"# tracer: nop\n x-1 [000] ..... 4.000001: {system}_{event}: {text}\n")
        return path

    fields = {name: good.get(name, "1") for name in FIELDS[event]}
    assert len(load(written(fields)).events) == 1
    for name in fields:
        lacking = {other: value for other, value in fields.items() if other != name}
        with pytest.raises(Damaged, match=f"run.dsync, line 2: the event {event} has no {name}"):
            load(written(lacking))
        if name in ("comm", "name"):
            continue
        wrong = "" if name in ("resv", "owner", "access") else "x"
        with pytest.raises(Damaged, match=f"2: {name} of the event {event} cannot be '{wrong}'"):
            load(written({**fields, name: wrong}))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("dmabuf-sync-recording []", "no object"),
        ("dmabuf-sync-recording {", "no JSON"),
        ("dmabuf-sync-recording {}", "has no version"),
        ('dmabuf-sync-recording {"version": "1"}', "version .* cannot be"),
        ('dmabuf-sync-recording {"version": true}', "version .* cannot be"),
        ('dmabuf-sync-recording {"version": 1, "command": [3]}', "command .* cannot be"),
        ('dmabuf-sync-recording {"version": 1, "clocks": [3]}', "clocks .* cannot be"),
        ('dmabuf-sync-recording {"version": 1, "clocks": {"monotonic": 3}}', "clocks .* cannot"),
        ('buffer {"name": "x"}', "has no ino"),
        ('buffer {"ino": 7}', "ino of buffer cannot be '7'"),
        ('buffer {"ino": "7", "name": "\\ud800"}', "name of buffer"),
        ('buffer {"ino": "7", "size": -1}', "size of buffer"),
        ("end", "no JSON"),
        ('end {"lost": 0, "status": "x"}', "status of end"),
        ('end {"lost": 0, "status": 0, "monotonic": 9e9}', "monotonic of end"),
    ],
)
def test_lines_of_our_own(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "run.dsync"
    path.write_text(f"# tracer: nop\n# {line}\n")
    with pytest.raises(Damaged, match=f"line 2: .*{what}"):
        load(path)


def test_later_versions_may_say_more(tmp_path: Path) -> None:
    path = tmp_path / "run.dsync"
    path.write_text(
        '# dmabuf-sync-recording {"version": 1, "more": 7}\n# other {"a": 7}\n'
        '# buffer {"ino": "7", "more": 7}\n# end {"lost": 0, "more": 7}\n'
    )
    loaded = load(path)
    assert (loaded.complete, loaded.buffers["7"].name) == (True, "")
    assert {"buffer", "end"} < OWN.keys()


@pytest.mark.parametrize("packed", [False, True])
def test_line_without_an_end(tmp_path: Path, packed: bool) -> None:
    """As /dev/zero has: it is not read until memory is short."""
    path = tmp_path / "endless"
    endless = b"".join(WAITERS[:3]) + bytes(4 << 20)
    path.write_bytes(gzip.compress(endless) if packed else endless)
    with pytest.raises(Damaged, match="line 3: what follows is one line without an end"):
        load(path)


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_but_a_line_without_an_end(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(gzip.compress(bytes(4 << 20)) if packed else bytes(4 << 20))
    with pytest.raises(ValueError, match="is not a recording"):
        load(path)
