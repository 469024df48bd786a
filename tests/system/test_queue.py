# SPDX-License-Identifier: MIT
"""The queue of a buffer: who is woken, who passes whom, which bytes count (C1, C2, C4)."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import allocate, available
from driver import DMA_READ, Driver
from locks import READ, WRITE, lock, trylock, unlock
from locks import test as getlk
from parties import KINDS, WAITING_KINDS, Party
from state import accesses, counters, until_waiting, waiting

from dmabuf_sync import Access, Sync

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
Parties = Callable[..., list[Party]]
SetParameter = Callable[[str, int], None]

pytestmark = pytest.mark.usefixtures("_driver_module")


@pytest.fixture(autouse=True)
def _patience(set_parameter: SetParameter) -> None:
    """Nobody is to be revoked, however slow the guest is."""
    set_parameter("hold_timeout_ms", 60_000)


@pytest.fixture
def parties() -> Iterator[Parties]:
    """parties(kind, ...): a process of each kind; make them after the buffers."""
    with contextlib.ExitStack() as stack:

        def make(*kinds: str) -> list[Party]:
            return [stack.enter_context(contextlib.closing(Party(kind))) for kind in kinds]

        yield make


def _sleeps(pid: int) -> int:
    """How often a process has gone to sleep so far."""
    with open(f"/proc/{pid}/status") as file:
        found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.MULTILINE)
    assert found
    return int(found[1])


def _asleep(party: Party) -> int:
    """Wait until it sleeps for good; how often it has gone to sleep."""

    def settled() -> int:
        with open(f"/proc/{party.pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
        count = _sleeps(party.pid)
        os.sched_yield()
        return count if state == "S" and count == _sleeps(party.pid) else 0

    return int(until(settled, f"sleeping of {party.kind}"))


def test_only_who_is_served_is_woken(buf: int, parties: Parties) -> None:
    """Counted by the scheduler, from outside."""
    holder, *line = parties("job", *WAITING_KINDS, *WAITING_KINDS)
    holder.get(buf, True)
    for party in line:
        party.ask(buf, True)
    for position, party in enumerate([holder, *line]):
        before = {later.pid: _asleep(later) for later in line[position:]}
        party.give(buf)
        if position < len(line):
            line[position].got()
        for later in line[position + 1 :]:
            assert _sleeps(later.pid) == before[later.pid], later.kind


def test_readers_are_granted_together(buf: int, parties: Parties) -> None:
    writer, last, *readers = parties("job", "sync", *KINDS, "fcntl")
    writer.get(buf, True)
    for reader in readers:
        reader.ask(buf, False)
    last.ask(buf, True)
    before = counters()
    writer.give(buf)
    for reader in readers:
        reader.got()
    # But for the job, whose fence was behind that of the writer from the beginning.
    assert counters()["wakes"] - before["wakes"] == len(readers) - 1
    assert counters()["grants"] - before["grants"] == len(readers) - 1
    assert waiting(buf) == [last.pid]
    for reader in readers:
        assert last.waits()
        reader.give(buf)
    last.got()


def _read_loop(kind: str, fd: int) -> None:
    """Lock and unlock for reading, for ever."""
    if kind == "fcntl":
        while True:
            lock(fd, READ)
            unlock(fd)
    if kind == "sync":
        with Sync("loop") as sync:
            sync.add(fd, Access.READ)
            while True:
                sync.lock()
                sync.unlock()
    with Driver() as driver:
        driver.get(fd, DMA_READ)
        while True:
            driver.lock()
            driver.unlock()


@pytest.mark.parametrize("writing", KINDS)
def test_looping_readers_do_not_starve_a_writer(
    buf: int, parties: Parties, actors: Actors, writing: str
) -> None:
    reader, writer = parties("fcntl", writing)
    # As above: a device does not read along with the CPU after the CPU has written.
    kinds = ("fcntl", "sync") if writing in ("fcntl", "sync") else WAITING_KINDS
    loops = actors(8)
    for index, loop in enumerate(loops):
        loop.start(_read_loop, kinds[index % len(kinds)], buf)
    for _ in range(10):  # at any point of their loops
        writer.get(buf, True)
        writer.give(buf)

    # While one reader stays, all the others get in line behind the writer, and none gets in.
    reader.get(buf, False)
    writer.ask(buf, True)
    grants = counters()["grants"]
    until(lambda: len(waiting(buf)) == 9, "queuing of all readers")
    assert waiting(buf)[0] == writer.pid
    assert counters()["grants"] == grants
    reader.give(buf)
    writer.got()
    assert counters()["grants"] == grants + 1
    for loop in loops:
        loop.kill()
    writer.give(buf)


def _keep(fd: int, access: Access, start: int, length: int, wait: bool) -> None:
    sync = Sync("range")
    sync.add(fd, access, offset=start, length=length)
    sync.lock(blocking=wait)
    _kept.append(sync)


_kept: list[Sync] = []


def _take_range(kind: str, fd: int, write: bool, start: int, length: int, wait: bool) -> None:
    if kind == "sync":
        _keep(fd, Access.WRITE if write else Access.READ, start, length, wait)
    else:
        (lock if wait else trylock)(fd, WRITE if write else READ, start, length)


def _drop_ranges(fd: int) -> None:
    unlock(fd)
    while _kept:
        _kept.pop().close()


@pytest.mark.parametrize("asking", ["fcntl", "sync"])
@pytest.mark.parametrize("holding", ["fcntl", "sync"])
def test_ranges(buf: int, actors: Actors, holding: str, asking: str) -> None:
    holder, asker = actors(2)
    holder.call(_take_range, holding, buf, True, 4096, 4096, False)
    for start, length in ((0, 4096), (8192, 4096), (0, 1), (8192, 0)):
        asker.call(_take_range, asking, buf, True, start, length, False)
        asker.call(_drop_ranges, buf)
    for start, length in ((0, 0), (4095, 2), (8191, 1), (8191, 0), (4096, 1), (5000, 10)):
        for write in (False, True):
            with pytest.raises(BlockingIOError):
                asker.call(_take_range, asking, buf, write, start, length, False)
    asker.start(_take_range, asking, buf, True, 8000, 1000, True)
    until_waiting(asker, buf)
    # In front of it nobody waits, and what does not overlap with either goes on.
    trylock(buf, WRITE, 0, 4096)
    with pytest.raises(BlockingIOError):
        trylock(buf, READ, 8999, 1)
    holder.call(_drop_ranges, buf)
    asker.result()
    assert sorted(a.pid for a in accesses(buf)) == sorted([os.getpid(), asker.pid])


@pytest.mark.parametrize("kind", KINDS)
def test_getlk_names_the_holder(buf: int, parties: Parties, kind: str) -> None:
    """Who locked or submitted; a driver that locks does it for nobody."""
    (party,) = parties(kind)
    party.get(buf, False)
    assert getlk(buf, READ) is None
    assert getlk(buf, WRITE) == (READ, 0, 0, -1 if kind == "driver" else party.pid)
    assert [access.pid for access in accesses(buf)] == [party.pid]  # it took nothing
    party.give(buf)
    assert getlk(buf, WRITE) is None


@pytest.mark.parametrize("asking", ["fcntl", "sync"])
def test_ranges_do_not_count_for_a_device(buf: int, parties: Parties, asking: str) -> None:
    for kind in ("driver", "job"):
        (device,) = parties(kind)
        device.get(buf, True)
        with pytest.raises(BlockingIOError):
            _take_range(asking, buf, False, 8192, 1, False)
        device.give(buf)
        _take_range(asking, buf, False, 8192, 1, False)
        assert device.refused(buf, True)
        _drop_ranges(buf)
        if kind == "job":
            device.got()
            device.give(buf)


@pytest.mark.parametrize("exporter", ["vdmabuf", "heap", "udmabuf"])
@pytest.mark.parametrize("kind", ["driver", "job"])
def test_device_reads_along_with_the_cpu_once_the_writer_is_gone(
    parties: Parties, actors: Actors, exporter: str, kind: str
) -> None:
    """The caches are cleaned for it; it would wait for readers it does not conflict with."""
    if not available(exporter):
        pytest.skip(f"this kernel has no {exporter}")
    fd = allocate(exporter, 65536)
    (device,) = parties(kind)
    reader, writer = actors(2)
    writer.call(lock, fd, WRITE, 0, 10)
    reader.call(lock, fd, READ, 8192, 10)
    device.ask(fd, False)
    assert device.waits()
    writer.call(unlock, fd)
    device.got()
    assert reader.pid in [access.pid for access in accesses(fd)]
    device.give(fd)
    reader.call(unlock, fd)
    assert accesses(fd) == []
    os.close(fd)


@pytest.mark.parametrize("waiting_kind", KINDS)
@pytest.mark.parametrize("call", [lock, trylock])
def test_holder_extends_past_those_who_wait_for_it(
    buf: int, parties: Parties, actors: Actors, waiting_kind: str, call: Callable[..., None]
) -> None:
    (holder,) = actors(1)
    (writer,) = parties(waiting_kind)
    holder.call(lock, buf, READ, 0, 100)
    writer.ask(buf, True)
    holder.call(call, buf, READ, 50, 100)
    holder.call(call, buf, WRITE, 0, 10)
    assert writer.waits()
    holder.call(unlock, buf)
    writer.got()
    writer.give(buf)
