# SPDX-License-Identifier: MIT
"""Uses of buffers: who holds and who waits, from debugfs or, for plain users, from /proc."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .processes import DMA_BUF, OpenFile, comm, open_files, pids

DEBUGFS = Path("/sys/kernel/debug")
BUFFERS = DEBUGFS / "dmabuf_sync" / "buffers"
LOCKS = Path("/proc/locks")
TO_THE_END = 2**63 - 1


class State(enum.Enum):
    """How far a use is."""

    IDLE = "idle"
    """Nobody uses the buffer."""
    HELD = "held"
    GRANTING = "granting"
    """Has the buffer, and waits for fences or cache maintenance."""
    LEAVING = "leaving"
    """Has given it back; the caches are not done yet."""
    WAITING = "waiting"


class Source(enum.Enum):
    """Where a snapshot comes from."""

    DEBUGFS = "debugfs"
    PROC = "proc"
    """/proc/locks and /proc/PID/fdinfo: fcntl holders only."""


@dataclass(frozen=True)
class Range:
    """Bytes that are used."""

    write: bool
    start: int
    end: int
    """The last byte; 2**63 - 1 for all to the end, wherever that is."""


@dataclass(frozen=True)
class Buffer:
    """A dma-buf; without an inode, a reservation object that has none."""

    inode: int
    resv: str
    """The kernel's name for its reservation object; "" if it is not known."""
    name: str
    exporter: str
    size: int
    """Bytes, 0 if it is not known."""

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from others; its name may change."""
        return self.inode, "" if self.inode else self.resv


@dataclass(frozen=True)
class Use:
    """One owner's use of one buffer. Times are milliseconds, None if they are not known."""

    buffer: Buffer
    state: State
    kind: str
    """posix, ofd, sync (a sync object), job or kernel (a driver); "" if nobody uses it."""
    dma: bool
    ranges: tuple[Range, ...]
    pid: int
    comm: str
    name: str
    """Of a sync object, a job or a driver."""
    age_ms: int | None = None
    """Since it was granted; while it waits, since it was asked for."""
    deadline_ms: int | None = None
    """Until it may be revoked, negative if it is overdue; None also for never."""
    owner: str = ""
    access: str = ""
    blocker: str = ""
    """The ``access`` that it waits for, "" also if it waits for another buffer first."""
    blocker_pid: int | None = None
    blocker_comm: str = ""

    @property
    def write(self) -> bool:
        return any(part.write for part in self.ranges)


@dataclass(frozen=True)
class Snapshot:
    """All uses at one moment, as far as the source goes."""

    source: Source
    why: str
    """Why it is not debugfs; "" if it is."""
    uses: tuple[Use, ...]


def snapshot(*, idle: bool = False) -> Snapshot:
    """Who uses what now; with `idle`, also buffers that somebody has open and nobody uses."""
    why = ""
    try:
        uses = _from_debugfs()
        source = Source.DEBUGFS
        uses += strangers(uses)
    except OSError as error:
        source, why = Source.PROC, _why(error)
        uses = from_proc()
    if idle:
        used = {use.buffer.inode for use in uses}
        buffers = open_buffers().values()
        uses += [_idle(buffer) for buffer in buffers if buffer.inode not in used]
    return Snapshot(source, why, tuple(uses))


def _from_debugfs() -> list[Use]:
    return parse(BUFFERS.read_text(errors="replace"))


def _why(error: OSError) -> str:
    if not Path("/sys/module/dmabuf_sync").exists():
        return "the module dmabuf_sync is not loaded"
    if isinstance(error, PermissionError):
        return "only root may read debugfs"
    if not os.path.ismount(DEBUGFS):
        return f"no debugfs on {DEBUGFS}"
    return f"{BUFFERS}: {error.strerror}"


def _unescape(text: str) -> str:
    r"""Undo the kernel's seq_escape(): \040 and such."""
    data = re.sub(
        rb"\\([0-7]{3})|\\([nt\\])",
        lambda match: (
            bytes([int(match[1], 8) & 0xFF])
            if match[1]
            else {b"n": b"\n", b"t": b"\t", b"\\": b"\\"}[match[2]]
        ),
        text.encode(errors="replace"),
    )
    return data.decode(errors="replace")


def parse(text: str) -> list[Use]:
    """The lines of debugfs ``buffers``; keys that they lack or have in addition do no harm."""
    uses = []
    for line in text.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "state" in fields:
            uses.append(_use(fields))
    by_access = {use.access: use for use in uses}
    return [_with_blocker(use, by_access) for use in uses]


def _use(fields: dict[str, str]) -> Use:
    def number(key: str) -> int | None:
        return int(fields[key]) if key in fields else None

    buffer = Buffer(
        inode=int(fields["ino"]),
        resv=fields.get("resv", ""),
        name=_unescape(fields.get("buffer", "")),
        exporter=_unescape(fields.get("exp", "")),
        size=int(fields.get("size", 0)),
    )
    mode = fields["type"]
    return Use(
        buffer=buffer,
        state=State(fields["state"]),
        kind=fields["kind"],
        dma="DMA" in mode,
        ranges=_ranges(fields, "W" in mode.partition("+")[0]),
        pid=int(fields["pid"]),
        comm=_unescape(fields.get("comm", "")),
        name=_unescape(fields.get("name", "")),
        age_ms=number("age_ms"),
        deadline_ms=number("deadline_ms"),
        owner=fields.get("owner", ""),
        access=fields.get("access", ""),
        blocker=fields.get("blocker", ""),
    )


def _ranges(fields: dict[str, str], write: bool) -> tuple[Range, ...]:
    if "ranges" not in fields:
        return (Range(write, int(fields["start"]), int(fields["end"])),)
    found = []
    for part in fields["ranges"].split(","):
        kind, _, span = part.partition(":")
        start, _, end = span.partition("-")
        found.append(Range(kind == "W", int(start), int(end)))
    return tuple(found)


def _with_blocker(use: Use, by_access: dict[str, Use]) -> Use:
    blocker = by_access.get(use.blocker) if use.blocker else None
    if blocker is None:
        return use
    return replace(use, blocker_pid=blocker.pid, blocker_comm=blocker.comm)


# -- without debugfs


def open_buffers(of: Iterable[int] | None = None) -> dict[tuple[int, int], Buffer]:
    """dma-bufs that processes have open, by device and inode, as far as this user may look.

    Of all processes, or of some.
    """
    found: dict[tuple[int, int], Buffer] = {}
    for pid in pids() if of is None else of:
        for file in open_files(pid):
            if file.link.startswith(DMA_BUF):
                _add(file, found)
    return found


def _add(file: OpenFile, found: dict[tuple[int, int], Buffer]) -> None:
    try:
        status = file.stat()
        if (status.st_dev, status.st_ino) in found:
            return
        fields = file.fdinfo()
    except OSError:
        return
    found[status.st_dev, status.st_ino] = Buffer(
        inode=status.st_ino,
        resv="",
        name=fields.get("name", ""),
        exporter=fields.get("exp_name", ""),
        size=int(fields.get("size", 0)),
    )


def from_proc() -> list[Use]:
    """Holders of fcntl locks. Of whom else's buffers this user learns no more than the inode."""
    records = lock_records()
    return _uses(records, open_buffers()) if records else []


def strangers(known: Sequence[Use]) -> list[Use]:
    """Holders of fcntl locks from before the module was loaded: it counts, but does not list them.

    As soon as somebody waits for one it is `known`, that is, debugfs has it.
    """
    records = _unknown(lock_records(), known)
    if not records:
        return []
    # One that somebody has taken or given back meanwhile is none.
    records = _unknown(records, _from_debugfs())
    holders = {record.pid for record in records}
    return _uses(records, open_buffers(pids() if -1 in holders else sorted(holders)))


def _unknown(records: Sequence[LockRecord], known: Sequence[Use]) -> list[LockRecord]:
    # An open file description's locks are nobody's in /proc/locks, and all of one owner.
    keys = {(use.buffer.inode, use.kind, -1 if use.kind == "ofd" else use.pid) for use in known}
    return [each for each in records if (each.inode, each.kind, each.pid) not in keys]


def _uses(records: Sequence[LockRecord], buffers: Mapping[tuple[int, int], Buffer]) -> list[Use]:
    """One use for all ranges that one owner has of one dma-buf; other files are left out."""
    devices = {device for device, _ in buffers}
    uses: dict[tuple[int, int, str], Use] = {}
    for record in records:
        if record.device not in devices:
            continue
        buffer = buffers.get((record.device, record.inode), Buffer(record.inode, "", "", "", 0))
        key = (record.inode, record.pid, record.kind)
        others = uses[key].ranges if key in uses else ()
        ranges = tuple(sorted((*others, record.range), key=lambda part: part.start))
        uses[key] = Use(
            buffer=buffer,
            state=State.HELD,
            kind=record.kind,
            dma=False,
            ranges=ranges,
            pid=record.pid,
            comm=comm(record.pid) if record.pid > 0 else "",
            name="",
        )
    return list(uses.values())


@dataclass(frozen=True)
class LockRecord:
    """A line of /proc/locks."""

    kind: str
    pid: int
    device: int
    inode: int
    range: Range


def lock_records() -> list[LockRecord]:
    """The posix and OFD locks of files that are, as dma-bufs, on no device that has a driver."""
    records = (parse_lock(line) for line in LOCKS.read_text().splitlines())
    return [record for record in records if record and os.major(record.device) == 0]


def parse_lock(line: str) -> LockRecord | None:
    """A line of /proc/locks that is a posix or OFD lock somebody holds, None for others."""
    words = line.split()
    kinds = {"POSIX": "posix", "OFDLCK": "ofd"}
    if len(words) != 8 or words[1] not in kinds:
        return None
    major, minor, inode = words[5].split(":")
    end = TO_THE_END if words[7] == "EOF" else int(words[7])
    return LockRecord(
        kind=kinds[words[1]],
        pid=int(words[4]),
        device=os.makedev(int(major, 16), int(minor, 16)),
        inode=int(inode),
        range=Range(words[3] == "WRITE", int(words[6]), end),
    )


def _idle(buffer: Buffer) -> Use:
    return Use(buffer, State.IDLE, "", False, (), 0, "", "")
