# SPDX-License-Identifier: MIT
"""The replay of trace logs: it takes what follows the rules and refuses what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from trace_log import Log, run_job

from dmabuf_sync.trace import parse
from dmabuf_sync.trace.replay import main


@pytest.fixture
def log() -> Log:
    return Log()


# Logs that follow the rules.


def test_one_after_the_other(log: Log) -> None:
    log.have("P", "a")
    log.queue("S", "a")
    log.end("P", "a")
    log.served("S", "a")
    log.end("S", "a")
    assert log.check()["after waiting"] == 1


def test_readers_share(log: Log) -> None:
    log.have("P1", "a", "R")
    log.have("P2", "a", "R")
    log.have("S", "a", "R")
    for owner in ("P1", "P2", "S"):
        log.end(owner, "a")
    assert log.check()["shared"] == 2


def test_bytes_that_do_not_overlap(log: Log) -> None:
    log.have("P1", "a", start=0, end=9)
    log.have("P2", "a", start=10, end=19)
    log.end("P1", "a")
    log.end("P2", "a")
    log.check()


def test_part_given_back(log: Log) -> None:
    log.have("P1", "a", start=0, end=99)
    log.queue("P2", "a", start=40, end=59)
    log.unlock_part("P1", "a", 30, 69)
    log.served("P2", "a")
    log.end("P2", "a")
    log.end("P1", "a")
    log.check()


def test_downgrade_lets_readers_in(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a", "R")
    log.have("P1", "a", "R", part="again")
    log.served("P2", "a")
    log.end("P1", "a")
    log.end("P2", "a")
    log.check()


def test_cpu_passes_who_leaves(log: Log) -> None:
    log.have("S1", "a")
    log.queue("S2", "a")
    log.leave("S1", "a")
    log.served("S2", "a")
    log.release("S1", "a")
    log.end("S2", "a")
    log.check()


def test_holder_overtakes_who_waits_for_it(log: Log) -> None:
    log.have("P1", "a", "R", start=0, end=9)
    log.queue("P2", "a")
    log.have("P1", "a", "R", part="more", start=5, end=19)
    log.end("P1", "a")
    log.served("P2", "a")
    log.end("P2", "a")
    log.check()


def _holder_wants_more(log: Log) -> None:
    log.have("P1", "a", "R", start=0, end=9)
    log.have("P2", "a", start=50, end=59)
    log.queue("P3", "a", start=0, end=9)
    log.queue("P4", "a", start=50, end=59)


def test_holder_waits_behind_those_who_do_not_wait_for_it(log: Log) -> None:
    _holder_wants_more(log)
    log.request("P1", "a", part="more", start=0, end=59)
    log.wait("P1", "a", part="more", before="P3a")
    log.end("P2", "a")
    log.served("P4", "a")
    log.end("P4", "a")
    log.grant("P1", "a", "more")
    log.hold("P1", "a", "more")
    log.end("P1", "a")
    log.served("P3", "a")
    log.end("P3", "a")
    log.check()


def test_holder_passes_somebody_who_does_not_wait_for_it(log: Log) -> None:
    _holder_wants_more(log)
    log.request("P1", "a", part="more", start=0, end=59)
    log.wait("P1", "a", part="more", before="P3a")
    log.end("P2", "a")
    log.grant("P1", "a", "more")
    log.refused("passes")


def _pass_a_job(log: Log, *waiting: str) -> None:
    """P3 is granted more than it has, past all that waits behind the job that waits for it."""
    log.have("P1", "a", start=20, end=29)
    log.have("P3", "a", start=60, end=69)
    for owner in waiting:
        if owner == "J":
            log.queue("J", "a", "W|DMA", start=0, end=9)
        else:
            log.queue(owner, "a", start=40, end=59)
    # The job goes behind this one, and so does P2 if it waits for the job.
    log.request("P1", "a", part="more", start=5, end=35)
    log.wait("P1", "a", part="more", before="Ja")
    log.have("P3", "a", "R", part="more", start=45, end=49)


def test_who_may_wait_behind_a_job_is_passed_with_it(log: Log) -> None:
    """Although they name other bytes: for most exporters a device shares all of them."""
    _pass_a_job(log, "J", "P2")
    log.cancel("P1", "a", "more")
    log.cancel("J", "a")
    log.end("P1", "a")
    log.end("P3", "a")
    log.served("P2", "a")
    log.end("P2", "a")
    log.check()


def test_who_waits_in_front_of_a_job_is_not_passed_with_it(log: Log) -> None:
    _pass_a_job(log, "P2", "J")
    log.refused("passes")


def test_cycle_of_order_is_undone(log: Log) -> None:
    log.have("P", "b")
    log.have("D", "a", "R")
    log.queue("S", "ab")
    log.queue("P", "a", "R")
    log.overtake("P", "a", before="Sa")
    log.served("P", "a")
    for owner, buffer in (("P", "a"), ("P", "b"), ("D", "a")):
        log.end(owner, buffer)
    log.served("S", "ab")
    log.end("S", "ab")
    assert log.check()["overtake"] == 1


def test_deadlock_of_two(log: Log) -> None:
    log.have("P1", "a")
    log.have("P2", "b")
    log.queue("P1", "b")
    log.queue("P2", "a")
    log.deadlock("P2", "a")
    log.cancel("P2", "a")
    log.end("P2", "b")
    log.served("P1", "b")
    log.end("P1", "a")
    log.end("P1", "b")
    log.check()


def test_overdue_and_wanted(log: Log) -> None:
    log.have("P1", "a")
    log.queue("P2", "a")
    log.revoke("P1", "a")
    log.end("P1", "a")
    log.served("P2", "a")
    log.end("P2", "a")
    log.check()


def test_jobs_are_ordered_by_fences(log: Log) -> None:
    run_job(log, "J1", "grant", "publish")
    run_job(log, "J2", "grant", "publish")
    run_job(log, "J1", "start", "end and release")
    run_job(log, "J2", "start", "end and release")
    log.check()


# Logs that are none.


def test_lost_events(log: Log) -> None:
    log.have("P", "a")
    log.lines.append("CPU:1 [LOST 17 EVENTS]\n")
    with pytest.raises(ValueError, match="17 events were lost"):
        log.check()


def test_events_out_of_order(log: Log) -> None:
    log.have("P", "a")
    log.end("P", "a")
    log.lines[3], log.lines[4] = log.lines[4], log.lines[3]
    with pytest.raises(ValueError, match="comes after"):
        list(parse(log.lines))


def test_command_line(log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.log"
    log.have("P", "a")
    path.write_text("".join(log.lines))
    assert main([str(path)]) == 1
    assert "the log ends with" in capsys.readouterr().err
    log.end("P", "a")
    path.write_text("".join(log.lines))
    assert main([str(path)]) == 0
