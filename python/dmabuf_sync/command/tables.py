# SPDX-License-Identifier: MIT
"""Tables of uses, and how ranges, ages and sizes are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .failure import printable
from .output import table
from .uses import TO_THE_END, Buffer, Range, State, Use

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

KINDS = {"posix": "fcntl", "ofd": "OFD", "sync": "sync", "job": "job", "kernel": "driver"}
_FEW = 3
"""Ranges shown of one use."""


def by_buffer(shown: Sequence[Use]) -> Table:
    """A table with the uses of each buffer together."""
    made = table(
        *("BUFFER", "HOLDER", "WAITER", "BLOCKER", "MODE", "RANGE", "AGE", "DEADLINE"),
        *("HOW", "SIZE", "EXPORTER"),
        right=("AGE", "DEADLINE", "SIZE"),
    )
    before = None
    for use in _grouped(shown):
        new = use.buffer.key != before
        before = use.buffer.key
        who = "" if use.state is State.IDLE else process(use.pid, use.comm)
        both = ("", text(who, "yellow")) if use.state is State.WAITING else (who, "")
        made.add_row(
            label(use.buffer) if new else "",
            *both,
            blocker(use),
            *_what(use),
            size(use.buffer.size) if new and use.buffer.size else "",
            use.buffer.exporter if new else "",
        )
    return made


def by_process(shown: Sequence[Use], everything: Sequence[Use]) -> Table:
    """A table with the uses of each process together, in the given order.

    `everything` tells who holds what others wait for.
    """
    made = table(
        *("PROCESS", "STATE", "BUFFER", "HOLDER", "BLOCKER", "MODE", "RANGE", "AGE", "DEADLINE"),
        "HOW",
        right=("AGE", "DEADLINE"),
    )
    before = None
    for use in shown:
        who = process(use.pid, use.comm) if use.pid != before else ""
        before = use.pid
        held_by = holder(everything, use.buffer) if use.state is State.WAITING else ""
        made.add_row(who, _state(use), label(use.buffer), held_by, blocker(use), *_what(use))
    return made


def _grouped(shown: Sequence[Use]) -> list[Use]:
    """By buffer, buffers in the order in which they appear first."""
    order = {use.buffer.key: number for number, use in reversed(list(enumerate(shown)))}
    return sorted(shown, key=lambda use: order[use.buffer.key])


def _what(use: Use) -> list[str | Text]:
    overdue = use.deadline_ms is not None and use.deadline_ms < 0
    return [
        mode(use),
        ranges(use.ranges, use.buffer.size),
        "" if use.age_ms is None else duration(use.age_ms),
        text(deadline(use), "red" if overdue else ""),
        how(use),
    ]


def _state(use: Use) -> Text:
    words = {State.HELD: "holds", State.WAITING: "waits"}
    style = "yellow" if use.state is State.WAITING else ""
    return text(words.get(use.state, use.state.value), style)


def text(content: str, style: str) -> Text:
    """`content` in a colour."""
    from rich.text import Text

    return Text(content, style=style)


def label(buffer: Buffer) -> str:
    """Inode and name."""
    if not buffer.inode:
        return f"resv {buffer.resv}"
    return f"{buffer.inode} {printable(buffer.name)}".rstrip()


def process(pid: int, comm: str) -> str:
    """Pid and command; "?" for -1, somebody whom /proc/locks does not name."""
    if pid < 0:
        return "?"
    if pid == 0:
        return printable(comm) or "kernel"
    return f"{pid} {printable(comm)}".rstrip()


def holder(everything: Sequence[Use], buffer: Buffer) -> str:
    """Who holds a buffer: the first process, and how many more uses there are."""
    holders = [
        process(use.pid, use.comm)
        for use in everything
        if use.buffer.key == buffer.key and use.state not in (State.WAITING, State.IDLE)
    ]
    if not holders:
        return ""
    return holders[0] if len(holders) == 1 else f"{holders[0]} +{len(holders) - 1}"


def how(use: Use) -> str:
    kind = KINDS.get(use.kind, use.kind)
    return f"{kind} {printable(use.name)}".rstrip()


def mode(use: Use) -> str:
    if use.state is State.IDLE:
        return "idle"
    text = "write" if use.write else "read"
    return f"{text} DMA" if use.dma else text


def ranges(parts: Sequence[Range], size: int = 0) -> str:
    """Bytes in decimal, "all" for all of them; with the mode if they differ in it.

    `size` is the buffer's, 0 if it is not known.
    """
    mixed = len({part.write for part in parts}) > 1
    last = size - 1 if size else TO_THE_END
    shown = [_range(part, mixed, last) for part in parts[:_FEW]]
    if len(parts) > _FEW:
        shown.append(f"and {len(parts) - _FEW} more")
    return " ".join(shown)


def _range(part: Range, mixed: bool, last: int) -> str:
    if part.end in (last, TO_THE_END):
        span = f"{part.start}-" if part.start else "all"
    else:
        span = f"{part.start}-{part.end}"
    return f"{'W' if part.write else 'R'}:{span}" if mixed else span


def deadline(use: Use) -> str:
    if use.deadline_ms is None:
        return ""
    if use.deadline_ms < 0:
        return f"overdue {duration(-use.deadline_ms)}"
    return duration(use.deadline_ms)


def blocker(use: Use) -> str:
    if use.state is State.GRANTING:
        return "fences or caches"
    if use.state is State.LEAVING:
        return "leaving"
    if use.state is not State.WAITING:
        return ""
    if use.blocker_pid is None:
        return "another buffer" if use.kind in ("sync", "job", "kernel") else ""
    return process(use.blocker_pid, use.blocker_comm)


def duration(milliseconds: float) -> str:
    """As few characters as tell it: 12ms, 3.4s, 2m05s, 1h12m."""
    seconds = milliseconds / 1e3
    if seconds < 1:
        return f"{milliseconds:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"


def size(count: int) -> str:
    """Bytes as 4K, 1.5M; the exact number if it is no multiple of 1024."""
    value: float = count
    for unit in ("", "K", "M", "G"):
        if value < 1024 or unit == "G":
            return f"{value:.1f}".removesuffix(".0") + unit
        if unit == "" and count % 1024:
            return str(count)
        value /= 1024
    raise AssertionError
