# SPDX-License-Identifier: MIT
"""What tracepoints and debugfs say of who (C13)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, ofd_lock, ofd_trylock, trylock, unlock
from state import DEBUGFS, accesses, until_waiting

from dmabuf_sync import Access, Blitter, Sync
from dmabuf_sync.trace import Event, Recorder, parse

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]


def _rename(comm: str) -> None:
    with open("/proc/self/comm", "w") as file:
        file.write(comm)


def _named(actors: Actors, *names: str) -> list[Actor]:
    made = actors(len(names))
    for actor, name in zip(made, names, strict=True):
        actor.call(_rename, name)
    return made


def _events(recorder: Recorder) -> list[Event]:
    recorder.stop()
    return list(parse(recorder.log()))


def _pids(events: list[Event], name: str) -> list[int]:
    return [event.number("pid") for event in events if event.name == name]


def test_debugfs_says_what_is_left(buf: int) -> None:
    lock(buf, WRITE, 0, 10)
    lock(buf, READ, 20, 10)
    assert [access.type for access in accesses(buf)] == ["RW"]
    unlock(buf, 0, 10)
    assert [access.type for access in accesses(buf)] == ["R"]


def test_debugfs_says_who_holds_and_who_waits(buf: int, actors: Actors) -> None:
    holder, first, second = _named(actors, "the holder", "wants-it", "wants\\it=too")
    holder.call(lock, buf, READ)
    for waiter in (first, second):
        waiter.start(lock, buf, WRITE)
        until_waiting(waiter, buf)
    with Sync("read me") as sync:
        sync.add(buf, Access.READ)
        sync.request()
        told = [(a.state, a.kind, a.type, a.pid, a.comm) for a in accesses(buf)]
        assert told == [
            ("held", "posix", "R", holder.pid, r"the\040holder"),
            ("waiting", "posix", "W", first.pid, "wants-it"),
            ("waiting", "posix", "W", second.pid, r"wants\134it=too"),
            ("waiting", "sync", "R", os.getpid(), accesses(buf)[3].comm),
        ]
        assert accesses(buf)[3].name == r"read\040me"
        with open("/proc/self/comm") as file:
            assert accesses(buf)[3].comm == file.read().strip().replace(" ", r"\040")
        with open(f"{DEBUGFS}/buffers") as file:
            assert all(" age_ms=" in line for line in file)
        sync.unlock()


def test_debugfs_tells_open_file_descriptions_and_jobs(buf: int) -> None:
    with Blitter() as blitter:
        ofd_lock(buf, WRITE)
        job = blitter.fill(buf, 1, wait=False)
        told = [(a.state, a.kind, a.type, a.pid) for a in accesses(buf)]
        ofd_trylock(buf, 2)
        assert told == [
            ("held", "ofd", "W", os.getpid()),
            ("waiting", "job", "W+DMA", os.getpid()),
        ]
        job.wait(20)
        job.close()


def test_events_of_a_lock_and_its_waiter(buf: int, actors: Actors) -> None:
    holder, waiter = _named(actors, "tr-holder", "tr-waiter")
    with Recorder() as recorder:
        holder.call(lock, buf, WRITE)
        waiter.start(lock, buf, WRITE)
        until_waiting(waiter, buf)
        holder.call(unlock, buf)
        waiter.result()
        waiter.call(unlock, buf)
        events = _events(recorder)
    pids = [holder.pid, waiter.pid]
    assert _pids(events, "request") == pids
    assert _pids(events, "grant") == pids
    assert _pids(events, "release") == pids
    ino = str(os.fstat(buf).st_ino)
    for event in events:
        if event.name in ("request", "grant", "release"):
            assert event.fields["ino"] == ino
            assert (event.fields["kind"], event.fields["type"]) == ("posix", "W")
    # Who ran: everybody asks for himself, and the holder's unlock grants the waiter.
    asking, granting = (
        [(event.comm, event.task) for event in events if event.name == name]
        for name in ("request", "grant")
    )
    assert asking == [("tr-holder", holder.pid), ("tr-waiter", waiter.pid)]
    assert granting[1] == ("tr-holder", holder.pid)


def test_event_of_a_revoked_hold(buf: int, actors: Actors, set_parameter: SetParameter) -> None:
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 20)
    with Recorder() as recorder:
        holder.call(lock, buf, READ)
        waiter.call(lock, buf, WRITE)
        events = _events(recorder)
    names = [event.name for event in events]
    assert _pids(events, "revoke") == [holder.pid]
    assert _pids(events, "release") == [holder.pid]
    last_grant = len(names) - 1 - names[::-1].index("grant")
    assert names.index("revoke") < last_grant  # taken away, then given
    late = next(event.number("since_ns") for event in events if event.name == "revoke")
    assert late >= 20_000_000  # a promise to the holder, not a measurement
    print(f"revoked {late / 1e6 - 20:.1f} ms after it was due")
    with pytest.raises(OSError, match=rf"\[Errno {errno.ETIMEDOUT}\]"):
        holder.call(unlock, buf)


def test_events_of_a_deadlock_and_of_an_overtaking(bufs: Buffers, actors: Actors) -> None:
    a, b = bufs(2)
    one, two, writer_a, writer_b = actors(4)
    with Recorder() as recorder:
        one.call(lock, a, WRITE)
        two.call(lock, b, WRITE)
        one.start(lock, b, WRITE)
        until_waiting(one, b)
        with pytest.raises(OSError, match=rf"\[Errno {errno.EDEADLK}\]"):
            two.call(lock, a, WRITE)
        two.call(unlock, b)
        one.result()
        one.call(unlock, a)
        one.call(unlock, b)
        assert _pids(_events(recorder), "deadlock") == [two.pid]
    with Recorder() as recorder:
        one.call(lock, a, READ)
        two.call(lock, b, READ)
        for writer, fd in ((writer_a, a), (writer_b, b)):
            writer.start(lock, fd, WRITE)
            until_waiting(writer, fd)
        one.start(lock, b, READ)
        until_waiting(one, b)
        two.call(lock, a, READ)
        events = _events(recorder)
        overtaken = [
            (event.number("pid"), event.number("overtaken"))
            for event in events
            if event.name == "overtake"
        ]
        assert overtaken == [(two.pid, writer_a.pid)]
    for actor in (one, two):
        actor.kill()
    writer_a.result()
    writer_b.result()


def test_events_of_a_job(buf: int) -> None:
    with Recorder() as recorder:
        with Blitter() as blitter, blitter.fill(buf, 1) as job:
            job.wait(20)
        until(lambda: not accesses(buf), "release")
        events = _events(recorder)
    jobs = [event for event in events if event.name.startswith("job_")]
    assert [event.name for event in jobs][-2:] == ["job_start", "job_end"]
    assert len({(event.fields["context"], event.fields["seqno"]) for event in jobs}) == 1
    assert jobs[-1].fields["status"] == "0"
    assert _pids(events, "grant")[0] == os.getpid()


def test_nothing_refused_is_granted(buf: int, actors: Actors) -> None:
    holder, other = actors(2)
    holder.call(lock, buf, WRITE)
    with Recorder() as recorder:
        with pytest.raises(BlockingIOError):
            other.call(trylock, buf, READ)
        events = _events(recorder)
    assert _pids(events, "request") == [other.pid]
    assert _pids(events, "grant") == []
    assert _pids(events, "release") == []
