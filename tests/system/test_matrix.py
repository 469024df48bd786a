# SPDX-License-Identifier: MIT
"""Every kind of holder against every kind of asker: exclusion and order (C1, C2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from buffers import allocate
from parties import KINDS, WAITING_KINDS, Party
from state import accesses, counters

Parties = Callable[..., list[Party]]
Pool = tuple[int, list[Party]]
SetParameter = Callable[[str, int], None]

pytestmark = pytest.mark.usefixtures("_driver_module")
KIND_PAIRS = [pytest.param(a, b, id=f"{a}-{b}") for a in KINDS for b in KINDS]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """A buffer and processes that know it: forking them for each test is slow."""
    fd = allocate("vdmabuf", 65536)
    idle: list[Party] = []
    yield fd, idle
    for party in idle:
        party.actor.kill()
    os.close(fd)


@pytest.fixture
def buf(pool: Pool) -> int:
    return pool[0]


@pytest.fixture
def parties(pool: Pool) -> Iterator[Parties]:
    """parties(kind, ...): a process of each kind."""
    fd, idle = pool
    taken: list[Party] = []

    def make(*kinds: str) -> list[Party]:
        for kind in kinds:
            known = [party for party in idle if party.kind == kind]
            if known:
                idle.remove(known[0])
            taken.append(known[0] if known else Party(kind))
        return taken[-len(kinds) :]

    yield make
    if accesses(fd):  # the test has failed
        for party in taken:
            party.actor.kill()
    else:
        idle.extend(taken)


@pytest.fixture(autouse=True)
def _patience(set_parameter: SetParameter) -> None:
    """Nobody is to be revoked, however slow the guest is."""
    set_parameter("hold_timeout_ms", 60_000)
    set_parameter("job_timeout_ms", 60_000)


def _woken(before: dict[str, int]) -> int:
    return counters()["wakes"] - before["wakes"]


@pytest.mark.parametrize(("holding", "asking"), KIND_PAIRS)
def test_exclusion(buf: int, parties: Parties, holding: str, asking: str) -> None:
    holder, asker = parties(holding, asking)
    for held, wanted in ((True, True), (True, False), (False, True)):
        holder.get(buf, held)
        assert asker.refused(buf, wanted)
        if asking != "job":
            assert len(accesses(buf)) == 1
            asker.ask(buf, wanted)
        before = counters()
        assert asker.waits()
        holder.give(buf)
        asker.got()
        assert _woken(before) == (asking in WAITING_KINDS)
        assert [access.pid for access in accesses(buf)] == [asker.pid]
        asker.give(buf)

    holder.get(buf, False)
    before = counters()
    asker.get(buf, False)
    assert _woken(before) == 0
    asker.give(buf)
    holder.give(buf)
    assert accesses(buf) == []


@pytest.mark.parametrize(("holding", "asking"), KIND_PAIRS)
def test_order(buf: int, parties: Parties, holding: str, asking: str) -> None:
    """First come first served with a third party of every kind, and with the holder again."""
    holder, second, *thirds = parties(holding, asking, *KINDS)
    for third in thirds:
        holder.get(buf, True)
        second.ask(buf, True)
        third.ask(buf, True)
        before = counters()
        holder.give(buf)
        second.got()
        assert _woken(before) == (asking in WAITING_KINDS)
        assert third.waits()
        holder.ask(buf, True)  # at the end of the line

        before = counters()
        second.give(buf)
        third.got()
        assert _woken(before) == (third.kind in WAITING_KINDS)
        assert holder.waits()
        third.give(buf)
        holder.got()
        holder.give(buf)


@pytest.mark.parametrize(("reading", "writing"), KIND_PAIRS)
def test_late_reader_waits_behind_a_waiting_writer(
    buf: int, parties: Parties, reading: str, writing: str
) -> None:
    reader, late, writer = parties(reading, reading, writing)
    reader.get(buf, False)
    writer.ask(buf, True)
    assert late.refused(buf, False)
    if reading != "job":
        late.ask(buf, False)
    reader.give(buf)
    writer.got()
    assert late.waits()
    writer.give(buf)
    late.got()
    late.give(buf)
