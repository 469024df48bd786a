# SPDX-License-Identifier: MIT
"""Reading debugfs and /proc/locks, and showing what they say."""

import io
import os

import pytest
from rich.console import Console

from dmabuf_sync.command import tables, uses
from dmabuf_sync.command.output import Cut
from dmabuf_sync.command.uses import Range, State, parse, parse_lock

END = uses.TO_THE_END
LINES = f"""\
ino=7 resv=0000aa state=held kind=posix type=W start=0 end=99 pid=12 comm=py\\040thon age_ms=1500 \
deadline_ms=-200 owner=0000o1 access=0000a1 size=65536 exp=vdmabuf buffer=my\\040frame\\134 \
ranges=W:0-99,R:200-{END}
ino=7 resv=0000aa state=waiting kind=sync type=R+DMA name=compose start=0 end={END} pid=13 \
comm=sh age_ms=20 owner=0000o2 access=0000a2 blocker=0000a1 size=65536 exp=vdmabuf buffer=
ino=0 resv=0000bb state=granting kind=job type=RW+DMA name= start=0 end={END} pid=0 comm= age_ms=3 \
deadline_ms=90000 owner=0000o3 access=0000a3
"""


def test_debugfs() -> None:
    held, waiting, job = parse(LINES)
    assert held.buffer == uses.Buffer(7, "0000aa", "my frame\\", "vdmabuf", 65536)
    assert (held.state, held.kind, held.pid, held.comm) == (State.HELD, "posix", 12, "py thon")
    assert held.ranges == (Range(True, 0, 99), Range(False, 200, END))
    assert (held.age_ms, held.deadline_ms) == (1500, -200)
    assert (waiting.blocker_pid, waiting.blocker_comm) == (12, "py thon")
    assert waiting.dma and not waiting.write
    assert waiting.deadline_ms is None
    assert job.ranges == (Range(True, 0, END),)
    assert job.buffer.inode == 0


def test_an_older_module_says_less() -> None:
    (use,) = parse("ino=7 resv=aa state=held kind=ofd type=R start=5 end=9 pid=1 comm=x age_ms=1\n")
    assert use.ranges == (Range(False, 5, 9),)
    assert (use.access, use.blocker, use.buffer.size) == ("", "", 0)


def test_proc_locks() -> None:
    record = parse_lock("3: POSIX  ADVISORY  WRITE 230 00:0d:1047 0 EOF")
    assert record is not None
    assert (record.kind, record.pid, record.inode) == ("posix", 230, 1047)
    assert record.device == os.makedev(0, 13)
    assert record.range == Range(True, 0, END)
    record = parse_lock("4: OFDLCK ADVISORY  READ -1 103:02:10 5 9")
    assert record is not None
    assert record.device == os.makedev(0x103, 2)
    assert (record.pid, record.range) == (-1, Range(False, 5, 9))
    for line in (
        "3: -> POSIX  ADVISORY  WRITE 230 00:0d:1047 0 EOF",
        "5: FLOCK  ADVISORY  WRITE 1 00:0d:1 0 EOF",
        "",
    ):
        assert parse_lock(line) is None


def shown(table: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_by_buffer() -> None:
    lines = shown(tables.by_buffer(parse(LINES)))
    assert lines[0].split() == (
        "BUFFER HOLDER WAITER BLOCKER MODE RANGE AGE DEADLINE HOW SIZE EXPORTER".split()
    )
    held, waiting, job = (line.split() for line in lines[1:])
    assert held[:3] == ["7", "my", "frame\\"]
    assert "12 py thon" in lines[1]
    assert held[-9:-3] == ["write", "W:0-99", "R:200-", "1.5s", "overdue", "200ms"]
    assert held[-3:] == ["fcntl", "64K", "vdmabuf"]
    # The waiter stands in its own column, and the buffer is not said again.
    assert lines[2].index("13 sh") == lines[0].index("WAITER")
    assert waiting[-2:] == ["sync", "compose"]
    assert lines[2].index("12 py thon") == lines[0].index("BLOCKER")
    assert job[:2] == ["resv", "0000bb"]
    assert "1m30s" in lines[3]
    assert "fences or caches" in lines[3]


def test_a_narrow_terminal_cuts_at_its_edge() -> None:
    out = io.StringIO()
    Console(file=out, width=60).print(Cut(tables.by_buffer(parse(LINES))))
    whole = shown(tables.by_buffer(parse(LINES)))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        line[:60].rstrip() for line in whole
    ]


def test_by_process() -> None:
    lines = shown(tables.by_process(parse(LINES), parse(LINES)))
    assert [line.split()[:1] for line in lines[1:]] == [["12"], ["13"], ["kernel"]]
    assert "waits" in lines[2]
    assert lines[2].index("12 py thon") == lines[0].index("HOLDER")


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (tables.duration, 0, "0ms"),
        (tables.duration, 3449, "3.4s"),
        (tables.duration, 125_000, "2m05s"),
        (tables.duration, 4_320_000, "1h12m"),
        (tables.size, 4096, "4K"),
        (tables.size, 1_572_864, "1.5M"),
        (tables.size, 100, "100"),
        (tables.size, 5000, "5000"),
        (tables.ranges, [Range(True, 0, END)], "all"),
        (tables.ranges, [Range(True, 5, END)], "5-"),
        (lambda parts: tables.ranges(parts, 100), [Range(True, 0, 99)], "all"),
        (lambda parts: tables.ranges(parts, 100), [Range(True, 0, 98)], "0-98"),
        (tables.ranges, [Range(True, n, n) for n in (1, 3, 5, 7)], "1-1 3-3 5-5 and 1 more"),
    ],
)
def test_formats(function: object, value: object, text: str) -> None:
    assert callable(function)
    assert function(value) == text


def test_a_name_cannot_write_to_the_terminal() -> None:
    (use,) = parse(
        "ino=7 resv=a state=held kind=ofd type=R start=5 end=9 pid=1 comm=\\033[31m age_ms=1\n"
    )
    assert not any("\x1b" in line for line in shown(tables.by_buffer([use])))
