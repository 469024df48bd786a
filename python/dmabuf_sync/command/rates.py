# SPDX-License-Identifier: MIT
"""Rates: how often each buffer is granted, how long that took, what was revoked.

The kernel counts, by histograms on the tracepoints in a tracing instance of our own: no event is
copied, however many there are.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from .checks import tracing
from .uses import DEBUGFS

STATS = DEBUGFS / "dmabuf_sync" / "stats"
_INSTANCE = "dmabuf_sync_top_"
_SIZE = 16384
"""Entries of a histogram: buffers times powers of two."""
_TRIGGERS = {
    "grant": f"hist:keys=ino,since_ns.log2:size={_SIZE}",
    "revoke": f"hist:keys=ino:size={_SIZE}",
    "deadlock": f"hist:keys=ino:size={_SIZE}",
}
_ENTRY = re.compile(r"\{ ino:\s*(\d+)(?:, since_ns: ~ 2\^(\d+))?\s*\} hitcount:\s*(\d+)")


@dataclass(frozen=True)
class Waits:
    """How long requests waited until they were granted, in powers of two of nanoseconds."""

    counts: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.counts.total()

    def percentile(self, percent: float) -> int | None:
        """Nanoseconds that `percent` of them did not exceed, rounded up to a power of two."""
        rank = self.total * percent / 100
        for power in sorted(self.counts):
            rank -= self.counts[power]
            if rank <= 0:
                return 1 << power
        return None


@dataclass(frozen=True)
class Sample:
    """What happened in a stretch of time; buffers by inode."""

    seconds: float
    waits: dict[int, Waits]
    revokes: Counter[int]
    deadlocks: Counter[int]
    totals: Counter[str]
    """Of the module's own counters: requests, grants, releases and so on."""


@dataclass
class _Counts:
    """Counts since the beginning."""

    time: float
    grants: Counter[tuple[int, int]]
    revokes: Counter[int]
    deadlocks: Counter[int]
    totals: Counter[str]


def parse_histogram(text: str) -> Counter[tuple[int, int]]:
    """Counts by inode and power of two (0 if it has none) of a file ``hist`` of tracefs."""
    found: Counter[tuple[int, int]] = Counter()
    for inode, power, count in _ENTRY.findall(text):
        found[int(inode), int(power or 0)] += int(count)
    return found


class Rates:
    """Counts while it is open: ``with Rates() as rates: ...; rates.sample()``.

    For users who may not trace, what it gives is empty, and `detail` is false.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._before = _Counts(time.monotonic(), Counter(), Counter(), Counter(), Counter())

    @property
    def detail(self) -> bool:
        """Whether there are counts for each buffer."""
        return self._folder is not None

    def __enter__(self) -> Self:
        top = tracing()
        if top is not None:
            self._folder = top / "instances" / f"{_INSTANCE}{os.getpid()}"
            try:
                _clean(top / "instances")
                self._folder.mkdir()
                for event, trigger in _TRIGGERS.items():
                    (self._event(event) / "trigger").write_text(trigger)
            except OSError:  # not root, no dmabuf_sync, or a kernel without histograms
                self._remove()
            except BaseException:  # Ctrl-C
                self._remove()
                raise
        self._before = self._read()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def _event(self, name: str) -> Path:
        assert self._folder
        return self._folder / "events" / "dmabuf_sync" / f"dmabuf_sync_{name}"

    def _remove(self) -> None:
        if self._folder is None:
            return
        for event, trigger in _TRIGGERS.items():
            with contextlib.suppress(OSError):
                (self._event(event) / "trigger").write_text(f"!{trigger}")
        with contextlib.suppress(OSError):
            self._folder.rmdir()
        self._folder = None

    def sample(self) -> Sample:
        """What happened since the last sample."""
        now, before = self._read(), self._before
        self._before = now
        waits: dict[int, Waits] = {}
        for (inode, power), count in (now.grants - before.grants).items():
            waits.setdefault(inode, Waits()).counts[power] += count
        return Sample(
            seconds=now.time - before.time,
            waits=waits,
            revokes=now.revokes - before.revokes,
            deadlocks=now.deadlocks - before.deadlocks,
            totals=now.totals - before.totals,
        )

    def _read(self) -> _Counts:
        return _Counts(
            time=time.monotonic(),
            grants=self._histogram("grant"),
            revokes=self._by_inode("revoke"),
            deadlocks=self._by_inode("deadlock"),
            totals=_stats(),
        )

    def _histogram(self, event: str) -> Counter[tuple[int, int]]:
        if self._folder is None:
            return Counter()
        try:
            return parse_histogram((self._event(event) / "hist").read_text())
        except OSError:  # the module was unloaded meanwhile
            return Counter()

    def _by_inode(self, event: str) -> Counter[int]:
        found: Counter[int] = Counter()
        for (inode, _), count in self._histogram(event).items():
            found[inode] += count
        return found


def _clean(instances: Path) -> None:
    """Remove what a top that was killed has left behind."""
    for path in instances.glob(f"{_INSTANCE}*"):
        if not Path("/proc", path.name.removeprefix(_INSTANCE)).exists():
            with contextlib.suppress(OSError):
                path.rmdir()


def _stats() -> Counter[str]:
    found: Counter[str] = Counter()
    with contextlib.suppress(OSError):
        for line in STATS.read_text().splitlines():
            name, _, value = line.partition(" ")
            found[name] = int(value)
    return found
