# SPDX-License-Identifier: MIT
"""Histograms, percentiles and rows of dmabuf-sync top."""

from collections import Counter

from dmabuf_sync.command.rates import Sample, Waits, parse_histogram
from dmabuf_sync.command.top import Screen, header, make_rows
from dmabuf_sync.command.uses import Buffer, Snapshot, Source, parse

HIST = """\
# event histogram
#
# trigger info: hist:keys=ino,since_ns.log2:vals=hitcount:sort=hitcount:size=16384 [active]
#

{ ino:         15, since_ns: ~ 2^20 } hitcount:          1
{ ino:         15, since_ns: ~ 2^12 } hitcount:         98
{ ino:         16, since_ns: ~ 2^5  } hitcount:          7

Totals:
    Hits: 106
    Entries: 3
    Dropped: 0
"""


def test_histograms() -> None:
    assert parse_histogram(HIST) == Counter({(15, 20): 1, (15, 12): 98, (16, 5): 7})
    assert parse_histogram("{ ino:          3 } hitcount:         2\n") == Counter({(3, 0): 2})
    assert parse_histogram("") == Counter()


def test_percentiles() -> None:
    waits = Waits(Counter({12: 98, 20: 2}))
    assert waits.total == 100
    assert waits.percentile(50) == waits.percentile(98) == 1 << 12
    assert waits.percentile(99) == waits.percentile(100) == 1 << 20
    assert Waits().percentile(50) is None


USES = parse(
    "ino=15 resv=a state=held kind=posix type=W start=0 end=9 pid=1 comm=x age_ms=9 owner=1"
    " access=2\n"
    "ino=15 resv=a state=waiting kind=posix type=W start=0 end=9 pid=2 comm=y age_ms=5 owner=3"
    " access=4 blocker=2\n"
    "ino=15 resv=a state=waiting kind=posix type=W start=0 end=9 pid=3 comm=z age_ms=3 owner=5"
    " access=6 blocker=2\n"
)


def test_rows() -> None:
    taken = Snapshot(Source.DEBUGFS, "", tuple(USES))
    sample = Sample(
        seconds=2.0,
        waits={16: Waits(Counter({5: 7})), 15: Waits(Counter({12: 98, 20: 2}))},
        revokes=Counter({17: 1}),
        deadlocks=Counter(),
        totals=Counter(requests=214, grants=107, revokes=1),
    )
    known: dict[int, Buffer] = {}
    found = [Buffer(16, "", "frame", "vdmabuf", 4096)]
    rows = make_rows(taken, sample, known, lambda: found)
    assert [row.buffer.inode for row in rows] == [15, 16, 17]
    first, second, third = rows
    assert (first.grants_per_second, first.holders, first.waiters) == (50.0, 1, 2)
    assert first.oldest_wait_ms == 5
    assert first.wait_ns == {"p50": 1 << 12, "p90": 1 << 12, "p99": 1 << 20, "max": 1 << 20}
    assert second.buffer.name == "frame"
    assert third.revokes == 1
    assert third.wait_ns["p50"] is None
    text = header(Screen(taken, sample, rows, True))
    assert "1 held, 2 waiting   107 requests/s   54 grants/s   1 revoked" in text


def test_names_are_looked_for_once() -> None:
    sample = Sample(1.0, {9: Waits(Counter({1: 1}))}, Counter(), Counter(), Counter())
    known: dict[int, Buffer] = {}
    calls = []
    for _ in range(2):
        make_rows(Snapshot(Source.DEBUGFS, "", ()), sample, known, lambda: calls.append(1) or [])
    assert len(calls) == 1
