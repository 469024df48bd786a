# SPDX-License-Identifier: MIT
"""dmabuf-sync status against real holders and waiters."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from actors import Actor
from locks import READ, WRITE, lock, ofd_lock, unlock
from modules import load_all, unload_framework
from running import NOBODY, Outcome
from state import until_waiting

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter, Sync

Run = Callable[..., Outcome]
pytestmark = pytest.mark.usefixtures("no_haste")
END = 2**63 - 1


def inode(fd: int) -> str:
    return str(os.fstat(fd).st_ino)


def test_holder_waiter_and_blocker(
    run: Run, buf: int, actors: Callable[[int], list[Actor]]
) -> None:
    holder, first, second = actors(3)
    holder.call(lock, buf, WRITE, 0, 100)
    holder.call(lock, buf, READ, 200, 50)
    holder.call(unlock, buf, 10, 10)
    first.start(lock, buf, WRITE, 0, 4096)
    until_waiting(first, buf)
    second.start(lock, buf, READ, 4000, 10)
    until_waiting(second, buf)

    outcome = run("status", "--json", inode(buf))
    assert (outcome.status, outcome.err) == (0, "")
    held, one, two = outcome.records
    assert [use["state"] for use in outcome.records] == ["held", "waiting", "waiting"]
    assert [use["pid"] for use in outcome.records] == [holder.pid, first.pid, second.pid]
    assert [(part["write"], part["start"], part["end"]) for part in held["ranges"]] == [
        (True, 0, 9),
        (True, 20, 99),
        (False, 200, 249),
    ]
    assert held["kind"] == "posix"
    assert held["buffer"]["size"] == 65536
    assert held["buffer"]["exporter"] == "vdmabuf"
    assert 0 < held["deadline_ms"] <= 60000
    assert held["age_ms"] >= one["age_ms"] >= two["age_ms"] >= 0
    assert (one["blocker"], one["blocker_pid"]) == (held["access"], holder.pid)
    # The second one could be served, were it not for the writer in front of it.
    assert (two["blocker"], two["blocker_pid"]) == (one["access"], first.pid)
    assert [use["source"] for use in outcome.records] == ["debugfs"] * 3

    shown = run("status", inode(buf))
    lines = shown.out.splitlines()
    assert (shown.status, shown.err, len(lines)) == (0, "", 4)
    assert lines[1].startswith(inode(buf))
    assert lines[1].index(f"{holder.pid} ") == lines[0].index("HOLDER")
    assert lines[2].index(f"{first.pid} ") == lines[0].index("WAITER")
    assert lines[2].index(f"{holder.pid} ") == lines[0].index("BLOCKER")
    assert "0-9 20-99 200-249" in lines[1].replace("W:", "").replace("R:", "")

    mine = run("status", "--by", "process", "--pid", str(first.pid))
    assert len(mine.out.splitlines()) == 2
    assert "waits" in mine.out
    for actor in (holder, first, second):
        actor.kill()
    assert inode(buf) not in run("status").out


def test_sync_objects_and_jobs(run: Run) -> None:
    with Exporter() as exporter, Sync("my set") as sync, Blitter() as blitter:
        one, two = exporter.allocate(4096, "first one"), exporter.allocate(4096, "second")
        with one, two:
            sync.add(one, Access.READ)
            sync.add(two, Access.WRITE)
            sync.lock()
            job = blitter.fill(two, 0, wait=False)
            uses = run("status", "--json", "--pid", str(os.getpid())).records
            by_buffer = {(use["buffer"]["name"], use["kind"]): use for use in uses}
            assert set(by_buffer) == {("first one", "sync"), ("second", "sync"), ("second", "job")}
            held = by_buffer["second", "sync"]
            assert (held["name"], held["state"]) == ("my set", "held")
            waiting = by_buffer["second", "job"]
            assert (waiting["state"], waiting["dma"]) == ("waiting", True)
            assert waiting["blocker"] == held["access"]
            assert "sync my set" in run("status", "first one").out
            sync.unlock()
            job.wait()
            job.close()
            idle = run("status", "--all", "--json", "second").records
            assert [use["state"] for use in idle] == ["idle"]


def test_locks_from_before_the_module_came(
    run: Run,
    buf: int,
    actors: Callable[[int], list[Actor]],
    set_parameter: Callable[[str, int], None],
) -> None:
    unload_framework()
    try:
        holder, waiter = actors(2)  # who do not have its device open
        holder.call(lock, buf, WRITE, 0, 100)
        holder.call(lock, buf, READ, 200, 50)
        waiter.call(ofd_lock, buf, READ, 4096, 10)
    finally:
        load_all()
    set_parameter("hold_timeout_ms", 60000)
    shown = run("status", inode(buf))
    assert (shown.status, shown.err) == (0, "")
    assert f"{holder.pid} " in shown.out
    records = run("status", "--json", inode(buf)).records
    ofd, posix = sorted(records, key=lambda use: use["kind"])
    assert [(use["kind"], use["pid"]) for use in (ofd, posix)] == [
        ("ofd", -1),
        ("posix", holder.pid),
    ]
    assert posix["ranges"] == [
        {"write": True, "start": 0, "end": 99},
        {"write": False, "start": 200, "end": 249},
    ]
    assert (posix["state"], posix["age_ms"], posix["deadline_ms"]) == ("held", None, None)
    assert posix["buffer"] == {**ofd["buffer"], "inode": int(inode(buf)), "exporter": "vdmabuf"}
    # A waiter makes the module list them itself.
    waiter.start(lock, buf, WRITE, 0, 4096)
    until_waiting(waiter, buf)
    states = [use["state"] for use in run("status", "--json", inode(buf)).records]
    assert states == ["held", "held", "waiting"]
    assert run("status", "--json", "--pid", str(holder.pid)).records[0]["deadline_ms"] > 0


def test_unprivileged(run: Run, actors: Callable[[int], list[Actor]]) -> None:
    """Only fcntl holders; names of buffers that the user has open, and it says so."""
    with Exporter() as exporter, exporter.allocate(8192, "shared") as mine:
        (holder,) = actors(1)
        holder.call(lock, mine.fileno(), WRITE, 0, 100)
        holder.call(lock, mine.fileno(), READ, 200)
        shown = run("status", user=NOBODY)
        assert shown.status == 0
        assert "only root may read debugfs: shown are fcntl holders from /proc/locks" in shown.err
        assert f"{holder.pid} " in shown.out
        (use,) = run("status", "--json", user=NOBODY).records
        assert (use["source"], use["state"], use["pid"]) == ("proc", "held", holder.pid)
        assert use["buffer"]["name"] == "shared"
        assert use["buffer"]["size"] == 8192
        assert use["ranges"] == [
            {"write": True, "start": 0, "end": 99},
            {"write": False, "start": 200, "end": END},
        ]
        assert use["age_ms"] is None


@pytest.mark.parametrize("user", [0, NOBODY])
def test_nothing(run: Run, user: int) -> None:
    outcome = run("status", "--json", "999999999", user=user)
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_buffer_of_another_exporter(run: Run, anybuf: int) -> None:
    lock(anybuf, WRITE)
    with DmaBuf(os.dup(anybuf)) as buffer:
        info = buffer.info()
        lock(anybuf, WRITE)
        (use,) = run("status", "--json", inode(anybuf)).records
        assert use["buffer"]["exporter"] == info.exporter
        assert use["buffer"]["size"] == info.size
        assert use["pid"] == os.getpid()
