# SPDX-License-Identifier: MIT
"""Deadlines and revoked holds (C7)."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, ofd_lock, ofd_trylock, trylock, unlock
from state import DEBUG_KERNEL, accesses, counters, parameter, proc_locks, until_waiting

from dmabuf_sync import Access, DmaBuf, Sync

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]

REVOKED = rf"\[Errno {errno.ETIMEDOUT}\]"


def test_nothing_happens_while_nobody_wants_it(buf: int, set_parameter: SetParameter) -> None:
    set_parameter("hold_timeout_ms", 1)
    before = counters()["revokes"]
    lock(buf, WRITE)
    time.sleep(0.05)
    unlock(buf)
    assert counters()["revokes"] == before


@pytest.mark.parametrize("next_call", ["unlock", "lock", "trylock"])
def test_due_and_wanted_is_taken_away(
    bufs: Buffers, actors: Actors, set_parameter: SetParameter, next_call: str
) -> None:
    fd, untouched = bufs(2)
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 50)
    before = counters()["revokes"]
    holder.call(lock, untouched, WRITE)
    holder.call(lock, fd, WRITE, 0, 10)
    holder.call(lock, fd, READ, 100, 10)
    waiter.call(lock, fd, WRITE, 105, 1)  # wants one of its two ranges
    assert proc_locks(fd) == [("POSIX", "WRITE", waiter.pid)]  # both are gone
    assert proc_locks(untouched) == [("POSIX", "WRITE", holder.pid)]
    assert counters()["revokes"] == before + 1
    waiter.call(unlock, fd)

    function, args = {
        "unlock": (unlock, (fd,)),
        "lock": (lock, (fd, READ)),
        "trylock": (trylock, (fd, READ)),
    }[next_call]
    with pytest.raises(OSError, match=REVOKED):
        holder.call(function, *args)
    assert accesses(fd) == []
    holder.call(function, *args)  # once


def test_only_the_holder_is_told(buf: int, actors: Actors, set_parameter: SetParameter) -> None:
    holder, waiter, third = actors(3)
    set_parameter("hold_timeout_ms", 20)
    holder.call(lock, buf, WRITE)
    waiter.call(lock, buf, WRITE)
    waiter.call(unlock, buf)
    third.call(lock, buf, WRITE)
    third.call(unlock, buf)
    with pytest.raises(OSError, match=REVOKED):
        holder.call(unlock, buf)


def test_passer_by_revokes_what_is_due(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    (holder,) = actors(1)
    set_parameter("hold_timeout_ms", 10)
    holder.call(lock, buf, WRITE)
    time.sleep(0.05)
    trylock(buf, WRITE)
    assert proc_locks(buf) == [("POSIX", "WRITE", os.getpid())]


def test_relocking_does_not_extend_the_hold(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 1000)
    holder.call(lock, buf, WRITE)
    waiter.start(lock, buf, WRITE)
    until_waiting(waiter, buf)
    seen = 0
    while waiter.running():
        try:
            holder.call(lock, buf, WRITE)
            seen += 1
        except OSError as error:
            assert error.errno == errno.ETIMEDOUT
            break
    waiter.result()
    assert seen > 0


def _lock_until_revoked(fd: int) -> int:
    """As fast as it goes; the error of the call that tells it."""
    while True:
        try:
            lock(fd, WRITE)
        except OSError as error:
            return error.errno or 0


def test_relocking_all_the_time_does_not_put_it_off(
    bufs: Buffers, actors: Actors, set_parameter: SetParameter
) -> None:
    """Each lock used to move the timer on by a tick: then it came when the machine had a hiccup.

    A hundred times as long as its hold is that of somebody who does nothing: it is due later.
    """
    busy, quiet = bufs(2)
    for _ in range(3):
        holder, waiter, quiet_holder, quiet_waiter = actors(4)
        set_parameter("hold_timeout_ms", 5000)
        quiet_holder.call(lock, quiet, WRITE)
        quiet_waiter.start(lock, quiet, WRITE)
        until_waiting(quiet_waiter, quiet)
        set_parameter("hold_timeout_ms", 50)
        holder.start(_lock_until_revoked, busy)
        until(lambda: accesses(busy))
        waiter.call(lock, busy, WRITE)
        assert quiet_waiter.running()
        assert holder.result() == errno.ETIMEDOUT
        for actor in (waiter, quiet_waiter, quiet_holder):
            actor.kill()


def test_closing_forgets(bufs: Buffers, actors: Actors, set_parameter: SetParameter) -> None:
    (fd,) = bufs(1)
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 10)
    holder.call(lock, fd, WRITE)
    waiter.call(lock, fd, WRITE)
    waiter.call(unlock, fd)
    spare = holder.call(os.dup, fd)
    holder.call(os.close, spare)  # as with posix locks, any descriptor counts
    holder.call(lock, fd, READ)


def test_open_file_description(buf: int, actors: Actors, set_parameter: SetParameter) -> None:
    (waiter,) = actors(1)
    set_parameter("hold_timeout_ms", 10)
    ofd_lock(buf, WRITE)
    waiter.call(lock, buf, READ)
    with pytest.raises(OSError, match=REVOKED):
        ofd_trylock(buf, READ)
    ofd_trylock(buf, READ)
    ofd_trylock(buf, 2)


def test_waiters_already_there_are_served_in_order(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    holder, *queue = actors(4)
    # Until all are there.
    set_parameter("hold_timeout_ms", 5000 if DEBUG_KERNEL else 1000)
    holder.call(lock, buf, WRITE)
    set_parameter("hold_timeout_ms", 60_000)  # of those that come after it
    for actor in queue:
        actor.start(lock, buf, WRITE)
        until_waiting(actor, buf)
    for actor in queue:
        actor.result()
        actor.call(unlock, buf)
    with pytest.raises(OSError, match=REVOKED):
        holder.call(unlock, buf)


def test_lost_while_it_waits_for_more(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    """That very call tells it, and the owner has nothing then."""
    holder, other, waiter = actors(3)
    set_parameter("hold_timeout_ms", 10)
    holder.call(lock, buf, WRITE, 0, 10)
    set_parameter("hold_timeout_ms", 60_000)
    other.call(lock, buf, WRITE, 50, 10)
    holder.start(lock, buf, WRITE, 50, 10)
    until_waiting(holder, buf)
    waiter.call(lock, buf, WRITE, 0, 10)
    assert holder.running()
    other.call(unlock, buf)
    with pytest.raises(OSError, match=REVOKED):
        holder.result()
    assert [access.pid for access in accesses(buf)] == [waiter.pid]
    holder.call(trylock, buf, WRITE, 50, 10)  # once


def test_set_is_due_for_those_who_waited_before_it(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    """They were in line when it was granted: nobody comes later who would set its timer."""
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 60_000)
    holder.call(lock, buf, WRITE)
    with Sync("in between") as sync:
        sync.add(buf, Access.WRITE)
        sync.request(hold=0.05)
        waiter.start(lock, buf, WRITE)
        until_waiting(waiter, buf)
        holder.call(unlock, buf)
        waiter.result()
        with pytest.raises(OSError, match=REVOKED):
            sync.unlock()


@pytest.mark.parametrize("how", ["fcntl", "timed", "sync"])
def test_no_hold_is_longer_than_the_maximum(
    buf: int, actors: Actors, set_parameter: SetParameter, how: str
) -> None:
    """Not even by default."""
    (waiter,) = actors(1)
    set_parameter("hold_timeout_ms", 3_600_000)
    set_parameter("max_hold_timeout_ms", 50)
    with DmaBuf(os.dup(buf)) as dmabuf, Sync("long") as sync:
        sync.add(buf, Access.WRITE)
        if how == "fcntl":
            lock(buf, WRITE)
        elif how == "timed":
            dmabuf.lock(Access.WRITE, timeout=0)
        else:
            sync.lock()
        waiter.call(lock, buf, WRITE)
        with pytest.raises(OSError, match=REVOKED):
            sync.unlock() if how == "sync" else unlock(buf)


def test_more_than_the_maximum_is_refused(buf: int, set_parameter: SetParameter) -> None:
    set_parameter("max_hold_timeout_ms", 50)
    with DmaBuf(os.dup(buf)) as dmabuf, Sync("too long") as sync:
        sync.add(buf, Access.WRITE)
        for ask in (dmabuf.lock, sync.lock):
            args = (Access.WRITE,) if ask == dmabuf.lock else ()
            with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
                ask(*args, hold=0.051)
            assert accesses(buf) == []
            ask(*args, hold=0.05)
            (dmabuf if ask == dmabuf.lock else sync).unlock()


@pytest.mark.parametrize("name", ["hold_timeout_ms", "max_hold_timeout_ms", "job_timeout_ms"])
@pytest.mark.parametrize("value", ["0", "-1", "3600001", "4294967297", "x", ""])
def test_parameter_out_of_bounds(name: str, value: str) -> None:
    before = parameter(name)
    path = f"/sys/module/dmabuf_sync/parameters/{name}"
    fd = os.open(path, os.O_WRONLY)
    try:
        with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
            os.write(fd, value.encode() + b"\n")
    finally:
        os.close(fd)
    assert parameter(name) == before
