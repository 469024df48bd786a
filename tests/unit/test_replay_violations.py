# SPDX-License-Identifier: MIT
"""Logs that break the rules: the replay names the rule."""

from __future__ import annotations

import pytest
from trace_log import Log, run_job

from dmabuf_sync.trace.replay import UNLOCKING


@pytest.fixture
def log() -> Log:
    return Log()


def test_exclusion(log: Log) -> None:
    log.have("P1", "a", "R")
    log.have("P2", "a")
    log.refused("while there is")


def test_exclusion_between_kinds(log: Log) -> None:
    log.have("P1", "a")
    log.have("S", "a", "R")
    log.refused("while there is")


def test_exclusion_of_bytes(log: Log) -> None:
    log.have("P1", "a", start=0, end=10)
    log.have("P2", "a", "R", start=10, end=19)
    log.refused("while there is")


def test_exclusion_after_an_upgrade(log: Log) -> None:
    log.have("P1", "a", "R")
    log.have("P2", "a", "R")
    log.have("P1", "a", "W", part="up")
    log.refused("while there is")


def test_exclusion_of_devices_from_what_leaves(log: Log) -> None:
    log.have("S", "a")
    log.leave("S", "a")
    run_job(log, "J", "grant")
    log.refused("while there is")


def test_exclusion_of_jobs_not_published(log: Log) -> None:
    run_job(log, "J1", "grant")
    run_job(log, "J2", "grant")
    log.refused("while there is")


def test_late_reader_passes_a_writer(log: Log) -> None:
    log.have("P1", "a", "R")
    log.queue("P2", "a")
    log.have("P3", "a", "R")
    log.refused("passes")


def test_waiters_out_of_order(log: Log) -> None:
    log.have("P1", "a", "R")
    log.queue("P2", "a")
    log.queue("P3", "a", "R")
    log.served("P3", "a")
    log.refused("passes")


def test_enqueued_in_front_without_a_right(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.request("P3", "a")
    log.wait("P3", "a", before="P2a")
    log.refused("no right to overtake")


def test_hold_that_is_being_revoked_gives_no_right_to_overtake(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.revoke("P1", "a")
    log.leave("P1", "a")
    log.request("P1", "a", part="again")
    log.wait("P1", "a", part="again", before="P2a")
    log.refused("no right to overtake")


def test_holder_enqueued_behind_who_waits_for_it(log: Log) -> None:
    log.have("P1", "a", "R")
    log.have("D", "a", "R")
    log.queue("P2", "a")
    log.request("P1", "a", "W", part="up")
    log.wait("P1", "a", part="up")
    log.refused("waits for what its owner holds")


def test_overtaking_without_a_cycle(log: Log) -> None:
    log.have("D", "a")
    log.queue("P1", "a")
    log.queue("P2", "a")
    log.overtake("P2", "a", before="P1a")
    log.refused("no cycle")


def test_deadlock_without_a_cycle(log: Log) -> None:
    log.have("P1", "a")
    log.have("P2", "b", "R")
    log.queue("P2", "a")
    log.deadlock("P2", "a")
    log.refused("no cycle of holds")


def test_half_a_set(log: Log) -> None:
    log.have("P1", "b")
    log.queue("S", "ab")
    log.grant("S", "a")
    log.end("P1", "b")
    log.refused("set was granted without")


def test_first_waiter_forgotten(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.end("P1", "a")
    log.queue("P3", "a")
    log.refused("nothing keeps back")


SOON = 100


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within fewer events than there may be in between on a busy machine."""
    monkeypatch.setattr("dmabuf_sync.trace.ripe.SOON", SOON)


def _set_that_nothing_keeps_back(log: Log) -> None:
    log.have("P1", "a")
    log.have("P2", "b")
    log.queue("S1", "ab")
    log.end("P2", "b")
    log.end("P1", "a")


def _pass_time(log: Log, events: int, owner: str = "P4", buffer: str = "c") -> None:
    for _ in range(events // 5):
        log.have(owner, buffer)
        log.end(owner, buffer)


@pytest.mark.usefixtures("soon")
def test_forgotten_set(log: Log) -> None:
    _set_that_nothing_keeps_back(log)
    _pass_time(log, SOON + 10)
    log.refused("nothing keeps back the set")


@pytest.mark.usefixtures("soon")
def test_set_behind_a_forgotten_set(log: Log) -> None:
    _set_that_nothing_keeps_back(log)
    log.queue("S2", "ab")
    _pass_time(log, SOON + 10)
    log.refused("nothing keeps back the set")


@pytest.mark.usefixtures("soon")
def test_set_that_is_granted_a_little_later(log: Log) -> None:
    _set_that_nothing_keeps_back(log)
    _pass_time(log, SOON - 10)
    log.served("S1", "ab")
    log.end("S1", "ab")
    log.check()


@pytest.mark.usefixtures("soon")
def test_set_that_waits_for_one_of_its_buffers(log: Log) -> None:
    log.have("P1", "a")
    log.queue("S1", "ab")
    _pass_time(log, SOON + 10)
    log.end("P1", "a")
    log.served("S1", "ab")
    log.end("S1", "ab")
    log.check()


@pytest.mark.usefixtures("soon")
def test_set_that_is_kept_back_now_and_then(log: Log) -> None:
    """It waits for a long time, but not all of it with nothing in its way."""
    _set_that_nothing_keeps_back(log)
    _pass_time(log, SOON - 20)
    log.cancel("S1", "a")
    log.cancel("S1", "b")
    log.queue("S2", "ab")
    _pass_time(log, SOON - 20)
    log.served("S2", "ab")
    log.end("S2", "ab")
    log.check()


def _another_unlocks_part(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.task, ours = log.task.replace("301", "302"), log.task
    log.unlock_part("P1", "a", 0, 99)
    log.task = ours
    log.end("P1", "a")


def test_who_unlocks_may_end_ranges_for_a_while(log: Log) -> None:
    _another_unlocks_part(log)
    log.queue("P3", "a")
    log.served("P2", "a")
    log.end("P2", "a")
    log.served("P3", "a")
    log.end("P3", "a")
    log.check()


def test_who_unlocks_is_through_with_it_some_time(log: Log) -> None:
    _another_unlocks_part(log)
    for _ in range(UNLOCKING // 2):
        log.request("P4", "b")
        log.cancel("P4", "b")
    log.queue("P3", "a")
    log.refused("nothing keeps back")


def test_waiter_forgotten_for_ever(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.end("P1", "a")
    log.refused("log ends with posix.*waiting")


def test_never_given_back(log: Log) -> None:
    log.have("P1", "a")
    log.refused("log ends with posix.*held")


@pytest.mark.parametrize("last", ["leave", "release"])
def test_given_back_twice(log: Log, last: str) -> None:
    log.have("P1", "a")
    log.end("P1", "a")
    getattr(log, last)("P1", "a")
    log.refused("nobody has asked")


def test_released_without_leaving(log: Log) -> None:
    log.have("P1", "a")
    log.release("P1", "a")
    log.refused("not from held")


def test_granted_twice(log: Log) -> None:
    log.have("S", "a")
    log.grant("S", "a")
    log.refused("not from held")


def test_revoked_too_early(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.revoke("P1", "a", left=5)
    log.refused("not due")


def test_revoked_without_being_wanted(log: Log) -> None:
    log.have("P1", "a", "R")
    log.request("P2", "a", "R")
    log.revoke("P1", "a")
    log.refused("nobody wants")


def test_revoked_twice(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.revoke("P1", "a")
    log.revoke("P1", "a")
    log.refused("cannot be revoked")


def test_job_published_before_its_grant(log: Log) -> None:
    log.have("S", "a")
    log.request("J", "a", "W|DMA")
    log.wait("J", "a")
    log.job("publish", "J")
    log.refused("published without a grant")


def test_job_started_before_one_in_front_has_ended(log: Log) -> None:
    run_job(log, "J1", "grant", "publish", "start")
    run_job(log, "J2", "grant", "publish", "start")
    log.refused("started before the end")


def test_job_started_before_it_is_published(log: Log) -> None:
    run_job(log, "J", "grant", "start")
    log.refused("without being published")


def test_job_ended_twice(log: Log) -> None:
    run_job(log, "J", "grant", "publish", "start", "end", "end")
    log.refused("ended")


def test_buffers_of_a_running_job_given_back(log: Log) -> None:
    run_job(log, "J", "grant", "publish", "start")
    log.leave("J", "a")
    log.refused("while the job runs")


def test_unknown_event(log: Log) -> None:
    log.surprise("P", "a")
    log.refused("no such event")
