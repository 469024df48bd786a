# SPDX-License-Identifier: MIT
"""Logs of events, written as tracefs does."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from dmabuf_sync.trace import Violation, parse, replay

END = (1 << 63) - 1


class Log:
    """Writes a log as tracefs does, an event a call: log.grant("P", "a").

    The owner's first letter is its kind: Process, Description, Set, Job. An access is named by its
    owner and its buffer; `part` tells several of one owner and buffer apart.
    """

    KINDS: ClassVar = {"P": "posix", "D": "ofd", "S": "sync", "J": "job"}
    task = "          python3-301     [001] .....  "

    def __init__(self) -> None:
        self.lines = ["# tracer: nop\n", "#\n"]
        self._types: dict[str, tuple[str, int, int]] = {}

    def _line(self, name: str, text: str) -> None:
        self.lines.append(f"{self.task}{len(self.lines)}: dmabuf_sync_{name}: {text}\n")

    @staticmethod
    def _pointer(*parts: str) -> str:
        return "".join(f"{ord(letter):02x}" for part in parts for letter in part).zfill(16)

    def _event(
        self,
        name: str,
        owner: str,
        buffer: str,
        part: str = "",
        *,
        type: str = "",
        start: int = 0,
        end: int = END,
        left: int = -1,
    ) -> None:
        key = owner + buffer + part
        if type:
            self._types[key] = type, start, end
        type, start, end = self._types.get(key, ("W", start, end))
        kind = self.KINDS[owner[0]]
        self._line(
            name,
            f"ino={ord(buffer)} resv={self._pointer(buffer)} owner={self._pointer(owner)} "
            f"access={self._pointer(key)} kind={kind} type={type} start={start} end={end} pid=301 "
            f"pending=0 since_ns=0 left_ns={left}",
        )

    def request(
        self, owner: str, buffer: str, type: str = "W", part: str = "", **range: int
    ) -> None:
        self._event("request", owner, buffer, part, type=type, **range)

    def __getattr__(self, name: str) -> Any:
        """grant, hold, cancel, leave, release, deadlock, revoke."""

        def event(owner: str, buffer: str, part: str = "", **more: Any) -> None:
            self._event(name, owner, buffer, part, **more)

        return event

    def wait(
        self, owner: str, buffer: str, part: str = "", before: str = "", what: str = "wait"
    ) -> None:
        self._line(
            what,
            f"resv={self._pointer(buffer)} owner={self._pointer(owner)} "
            f"access={self._pointer(owner + buffer + part)} before={self._pointer(before)} pid=301",
        )

    def overtake(self, owner: str, buffer: str, before: str) -> None:
        self.wait(owner, buffer, before=before, what="overtake")

    def unlock_part(self, owner: str, buffer: str, start: int, end: int) -> None:
        self._event("unlock", owner, buffer, "unlock", type="W", start=start, end=end)

    def job(self, what: str, owner: str) -> None:
        self._line(
            f"job_{what}",
            f"owner={self._pointer(owner)} context=7 seqno=1 status=0 name=a name=b",
        )

    # Several events in a row.

    def have(self, owner: str, buffers: str, type: str = "W", part: str = "", **range: int) -> None:
        """Granted at once, and complete."""
        for buffer in buffers:
            self.request(owner, buffer, type, part, **range)
        for buffer in buffers:
            self.grant(owner, buffer, part)
        for buffer in buffers:
            self.hold(owner, buffer, part)

    def queue(
        self, owner: str, buffers: str, type: str = "W", part: str = "", **range: int
    ) -> None:
        """Begins to wait at the end."""
        for buffer in buffers:
            self.request(owner, buffer, type, part, **range)
        for buffer in buffers:
            self.wait(owner, buffer, part)

    def served(self, owner: str, buffers: str) -> None:
        """Granted after waiting, and complete."""
        for name in ("grant", "hold"):
            for buffer in buffers:
                self._event(name, owner, buffer)

    def end(self, owner: str, buffers: str) -> None:
        for name in ("leave", "release"):
            for buffer in buffers:
                self._event(name, owner, buffer)

    def check(self) -> dict[str, int]:
        return dict(replay(parse(self.lines)))

    def refused(self, why: str) -> None:
        with pytest.raises(Violation, match=why):
            self.check()


def run_job(log: Log, owner: str, *steps: str) -> None:
    for step in steps:
        if step == "grant":
            log.request(owner, "a", "W|DMA")
            log.grant(owner, "a")
        elif step == "end and release":
            log.job("end", owner)
            log.end(owner, "a")
        else:
            log.job(step, owner)
