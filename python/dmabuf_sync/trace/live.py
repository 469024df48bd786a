# SPDX-License-Identifier: MIT
"""Checks the events of some buffers against the rules while they happen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from .events import Event, Lost, read
from .replay import Rules, Violation
from .tracefs import Recorder

_PATIENCE = 10.0
"""Seconds until what is still held after everybody has gone is a problem."""
_AGE = 0.3
"""Seconds until no CPU has an earlier event to tell: the pipe all but merges what they have."""


class Checker:
    """Replays what happens to some buffers, which nobody else may have, from when it is entered.

    Needs root. OSError as Recorder.
    """

    def __init__(self, inodes: Iterable[int]) -> None:
        self._inodes = {str(inode) for inode in inodes}
        self._recorder = Recorder()
        self._rules = Rules()
        self._resvs: set[str] = set()
        self._owners: set[str] = set()
        self._fresh: list[Event] = []
        self._ripe: list[Event] = []
        self._drained = time.monotonic()
        self.problems: list[str] = []

    @property
    def counts(self) -> Counter[str]:
        """How many events of each name were replayed."""
        return self._rules.counts

    def __enter__(self) -> Checker:
        self._recorder.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._recorder.__exit__(kind, value, trace)

    def check(self) -> bool:
        """Replay what is old enough; False once something is wrong."""
        if time.monotonic() - self._drained >= _AGE:
            self._take_in()
            self._replay()
        return not self.problems

    def finish(self) -> None:
        """Wait until everything was given back, and replay the rest."""
        deadline = time.monotonic() + _PATIENCE
        seen_all = False
        while not self.problems:
            time.sleep(_AGE)
            self._take_in()
            self._replay()
            # What the first round found fresh is replayed in the second; others are never quiet.
            if seen_all and (self._rules.idle or time.monotonic() > deadline):
                break
            seen_all = True
        if self.problems:
            return
        try:
            self._rules.finish()
        except Violation as violation:
            self.problems.append(str(violation))

    def _take_in(self) -> None:
        """What was fresh the last time is ripe: all that comes before it has come since."""
        self._drained = time.monotonic()
        lines = self._recorder.drain().decode(errors="replace").splitlines()
        arrived = []
        for record in read(lines):
            if isinstance(record, Lost):
                self.problems.append(
                    f"{record.count} events were lost, so nothing more could be checked"
                )
                return
            arrived.append(record)
        # Somebody with an early number may have come late.
        limit = max((event.time for event in self._fresh), default=-1)
        both = sorted((*self._fresh, *arrived), key=lambda event: event.time)
        self._ripe += [event for event in both if event.time <= limit]
        self._fresh = [event for event in both if event.time > limit]

    def _replay(self) -> None:
        for event in self._ripe:
            if self._is_ours(event):
                try:
                    self._rules.feed(event)
                except Violation as violation:
                    self.problems.append(str(violation))
                    break
        self._ripe.clear()

    def _is_ours(self, event: Event) -> bool:
        fields = event.fields
        if event.system != "dmabuf_sync":
            return False
        if "resv" not in fields:
            return fields["owner"] in self._owners
        if fields.get("ino") in self._inodes:
            self._resvs.add(fields["resv"])
            self._owners.add(fields["owner"])
        return fields["resv"] in self._resvs
