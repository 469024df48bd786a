# SPDX-License-Identifier: MIT
"""Histories: what events are put together to, also when some are missing."""

from __future__ import annotations

from dmabuf_sync.trace import Event, History, history_of, read
from dmabuf_sync.trace.history import Outcome

END = (1 << 63) - 1


class Log:
    """Writes events as tracefs does: log(time, name, owner, access), times in microseconds."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(
        self,
        time: int,
        name: str,
        owner: str,
        access: str,
        *,
        type: str = "W",
        kind: str = "posix",
        range: tuple[int, int] = (0, END),
        since: int = 0,
        before: str = "0",
        ino: int = 7,
    ) -> None:
        pid = ord(owner)
        text = f"resv={ino:016x} owner={owner} access={access} "
        if name in ("wait", "overtake"):
            text += f"before={before} pid={pid}"
        else:
            text = (
                f"ino={ino} {text}kind={kind} type={type} start={range[0]} end={range[1]} "
                f"pid={pid} pending=0 since_ns={since} left_ns=0"
            )
        self.lines.append(f" {owner}-{pid} [000] ..... 0.{time:06}: dmabuf_sync_{name}: {text}\n")

    def lock(self, time: int, owner: str, access: str, **more: object) -> None:
        """Granted at once."""
        for name in ("request", "grant", "hold"):
            self(time, name, owner, access, **more)  # type: ignore[arg-type]

    def free(self, time: int, owner: str, access: str) -> None:
        for name in ("leave", "release"):
            self(time, name, owner, access)

    def history(self) -> History:
        return history_of(event for event in read(self.lines) if isinstance(event, Event))


def test_waiter_knows_who_kept_it() -> None:
    log = Log()
    log.lock(1, "A", "a")
    log(2, "request", "B", "b")
    log(2, "wait", "B", "b")
    log(3, "request", "C", "c")
    log(3, "wait", "C", "c")
    log(5, "leave", "A", "a")
    log(6, "grant", "B", "b", since=4100)
    log(7, "hold", "B", "b")
    log.free(8, "B", "b")
    log(9, "grant", "C", "c", since=6200)
    history = log.history()
    a, b, c = history.uses
    assert (a.granted, a.ended, a.outcome) == (1000, 5000, Outcome.RELEASED)
    assert (b.waited_from, b.granted, b.complete, b.ended) == (2000, 6000, 7000, 8000)
    assert b.blocker is a
    assert c.blocker is b
    assert c.outcome is Outcome.OPEN
    assert [request.waited for request in history.requests] == [0, 4100, 6200]
    assert b.granted_by == "B"
    assert history.comms == {65: "A", 66: "B", 67: "C"}


def test_readers_do_not_keep_readers() -> None:
    log = Log()
    log.lock(1, "A", "a", type="R")
    log(2, "request", "B", "b")
    log(2, "wait", "B", "b")
    log(3, "request", "C", "c", type="R")
    log(3, "wait", "C", "c")
    b, c = log.history().uses[1:]
    assert [use.name for use in b.in_the_way] == ["a"]
    assert [use.name for use in c.in_the_way] == ["b"]


def test_second_lock_of_an_owner_is_added_to_the_first() -> None:
    log = Log()
    log.lock(1, "A", "a", range=(0, 9))
    log.lock(2, "A", "x", range=(10, 19))
    log(3, "request", "B", "b", range=(15, 16))
    log(3, "wait", "B", "b")
    log.free(9, "A", "a")
    log(9, "grant", "B", "b", since=6000)
    history = log.history()
    first, second, other = history.uses
    assert second.merged is first
    assert second.held_until(0) == 9000
    assert other.blocker is first


def test_part_that_was_given_back_keeps_nobody() -> None:
    log = Log()
    log.lock(1, "A", "a", range=(0, 19))
    log(2, "unlock", "A", "u", range=(0, 9))
    log(3, "request", "B", "b", range=(12, 12))
    log(3, "wait", "B", "b")
    log(4, "request", "C", "c", range=(0, 5))
    log(4, "wait", "C", "c")
    b, c = log.history().uses[1:]
    assert [use.name for use in b.in_the_way] == ["a"]
    assert c.in_the_way == []


def test_ways_to_end() -> None:
    log = Log()
    log.lock(1, "A", "a")
    log(2, "request", "B", "b")
    log(2, "cancel", "B", "b", since=100)
    log(3, "request", "C", "c")
    log(3, "wait", "C", "c")
    log(4, "deadlock", "C", "c")
    log(4, "cancel", "C", "c", since=1000)
    log(5, "request", "D", "d")
    log(5, "wait", "D", "d")
    log(6, "revoke", "A", "a")
    log.free(6, "A", "a")
    log(6, "grant", "D", "d", since=1000)
    history = log.history()
    outcomes = [Outcome.REVOKED, Outcome.CANCELLED, Outcome.DEADLOCK, Outcome.OPEN]
    assert [use.outcome for use in history.uses] == outcomes
    assert [request.outcome for request in history.requests] == outcomes
    assert not history.requests[1].has_waited
    assert history.requests[2].waited == 1000


def test_set_is_one_request_each_time() -> None:
    log = Log()
    for time in (1, 5):
        for name in ("request", "grant", "hold"):
            for ino in (7, 8):
                log(time, name, "S", f"s{ino}", ino=ino, kind="sync")
        for name in ("leave", "release"):
            for ino in (7, 8):
                log(time + 2, name, "S", f"s{ino}", ino=ino, kind="sync")
    history = log.history()
    assert [len(request.uses) for request in history.requests] == [2, 2]
    assert all(request.outcome is Outcome.RELEASED for request in history.requests)


def test_log_may_begin_anywhere_and_lack_events() -> None:
    log = Log()
    log.lock(1, "A", "a")
    log(2, "request", "B", "b")
    log(2, "wait", "B", "b")
    log(3, "overtake", "B", "b", before="a")
    log(4, "deadlock", "B", "b")
    log(5, "revoke", "A", "a")
    log.free(6, "A", "a")
    log(7, "grant", "B", "b")
    log(8, "unlock", "B", "u")
    for name, status in (("publish", 0), ("start", 0), ("end", -5)):
        log.lines.append(
            f" x-1 [000] ..... 0.000009: dmabuf_sync_job_{name}: owner=J context=1 seqno=1"
            f" status={status} name=v\n"
        )
    (job,) = log.history().jobs
    assert (job.device, job.status, job.request) == ("v", -5, None)
    lines = log.lines
    for missing in range(len(lines)):
        log.lines = lines[:missing] + lines[missing + 1 :]
        log.history()
        log.lines = lines[missing:]
        log.history()
