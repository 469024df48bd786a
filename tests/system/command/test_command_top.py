# SPDX-License-Identifier: MIT
"""dmabuf-sync top and doctor on a kernel that is at work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, unlock
from running import NOBODY, Command, Outcome
from state import until_waiting

Run = Callable[..., Outcome]
Start = Callable[..., Command]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_haste")]
INSTANCES = Path("/sys/kernel/tracing/instances")


def test_once(run: Run, buf: int, actors: Callable[[int], list[Actor]]) -> None:
    holder, waiter, busy = actors(3)
    holder.call(lock, buf, READ)
    waiter.start(lock, buf, WRITE, 0, 4096)
    until_waiting(waiter, buf)
    inode = os.fstat(buf).st_ino

    busy.start(many_reads, buf)
    (update,) = run("top", "--once", "--json", "-d", "1").records
    busy.kill()
    assert update["detail"]
    assert update["source"] == "debugfs"
    (row,) = (row for row in update["buffers"] if row["buffer"]["inode"] == inode)
    assert (row["holders"] >= 1, row["waiters"]) == (True, 1)
    assert row["oldest_wait_ms"] > 0
    assert row["grants_per_second"] > 1
    waits = row["wait_ns"]
    assert 0 < waits["p50"] <= waits["p90"] <= waits["p99"] <= waits["max"]
    assert update["totals"]["grants"] >= row["grants_per_second"]
    assert {use["pid"] for use in update["uses"]} >= {holder.pid, waiter.pid}

    shown = run("top", "-n", "2", "-d", "0.2")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.count("GRANTS/s") == 2
    assert f"{holder.pid} " in shown.out
    assert not [path for path in INSTANCES.iterdir() if path.name.startswith("dmabuf_sync_top")]


def many_reads(buf: int) -> None:
    """Locks that do not wait: of bytes that nobody else wants."""
    while True:
        lock(buf, READ, 8192, 100)
        unlock(buf, 8192, 100)


def test_revokes_are_counted(
    start: Start,
    buf: int,
    actors: Callable[[int], list[Actor]],
    set_parameter: Callable[[str, int], None],
) -> None:
    set_parameter("hold_timeout_ms", 1)
    one, two = actors(2)
    command = start("top", "--json", "-d", "0.3")
    command.line()  # it counts
    one.call(lock, buf, WRITE)
    two.call(lock, buf, WRITE)  # revokes the first
    lines = [command.line() for _ in range(2)]
    command.interrupt()
    outcome = command.outcome()
    assert outcome.status == 0
    inode = os.fstat(buf).st_ino
    revokes = [
        row["revokes"]
        for update in Outcome(0, "".join(lines) + outcome.out, "").records
        for row in update["buffers"]
        if row["buffer"]["inode"] == inode
    ]
    assert sum(revokes) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_nothing_behind(start: Start, number: signal.Signals) -> None:
    command = start("top", "-d", "0.2")
    folder = INSTANCES / f"dmabuf_sync_top_{command.pid}"
    until(folder.exists, "a tracing instance")
    os.kill(command.pid, number)
    assert command.outcome().status == {signal.SIGINT: 0, signal.SIGTERM: 143}[number]
    assert not folder.exists()


def test_unprivileged(run: Run) -> None:
    outcome = run("top", "--once", "-d", "0.1", user=NOBODY)
    assert outcome.status == 0
    assert "only root may read debugfs" in outcome.err
    assert "no rates: root only" in outcome.out
    (update,) = run("top", "--once", "-d", "0.1", "--json", user=NOBODY).records
    assert (update["source"], update["detail"]) == ("proc", False)


def test_doctor(run: Run) -> None:
    outcome = run("doctor", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    levels = {record["name"]: record["level"] for record in outcome.records}
    for name in ("version", "dma-buf", "dmabuf_sync", "/dev/dmabuf_sync", "fcntl(2)", "debugfs"):
        assert levels[name] == "yes"
    shown = run("doctor").out
    assert f"Linux {os.uname().release}" in shown


def test_doctor_as_a_plain_user(run: Run) -> None:
    outcome = run("doctor", "--json", user=NOBODY)
    assert outcome.status == 3
    checks = {record["name"]: record for record in outcome.records}
    node = checks["/dev/dmabuf_sync"]
    assert node["level"] == "no"
    assert "usermod -aG video" in node["remedy"]
    assert checks["debugfs"]["level"] == "later"
    assert checks["dmabuf_sync"]["level"] == "yes"
    # With what the remedy brings, it has what it needs.
    os.chown("/dev/dmabuf_sync", 0, NOBODY)
    try:
        os.chmod("/dev/dmabuf_sync", 0o660)
        assert run("doctor", user=NOBODY).status == 0
    finally:
        os.chown("/dev/dmabuf_sync", 0, 0)
