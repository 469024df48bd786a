# SPDX-License-Identifier: MIT
"""Cycles that several close at once: one EDEADLK each, and the rest proceed (C3, C4)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, unlock
from state import accesses, counters, until_waiting

from dmabuf_sync import Access, Sync

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]


@pytest.fixture(autouse=True)
def _patience(set_parameter: SetParameter) -> None:
    """A cycle must not be undone by revoking somebody."""
    set_parameter("hold_timeout_ms", 60_000)
    set_parameter("job_timeout_ms", 60_000)


class Gate:
    """Lets a number of processes go on at the same time, as soon as all have come."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._come = os.pipe()
        # In turns: who is fast must not take the leave that was meant for who is slow.
        self._go = (os.pipe(), os.pipe())
        self._turn = 0

    def _next(self) -> tuple[int, int]:
        self._turn += 1
        return self._go[self._turn % 2]

    def pass_through(self) -> None:
        """For each of the processes."""
        os.write(self._come[1], b".")
        os.read(self._next()[0], 1)

    def open_once(self) -> None:
        """For the one who is not among them."""
        come = 0
        while come < self._count:
            come += len(os.read(self._come[0], self._count - come))
        os.write(self._next()[1], b"." * self._count)

    def close(self) -> None:
        for fd in (*self._come, *self._go[0], *self._go[1]):
            os.close(fd)


@pytest.fixture
def gates() -> Iterator[Callable[[int], Gate]]:
    with contextlib.ExitStack() as stack:
        yield lambda count: stack.enter_context(contextlib.closing(Gate(count)))


_gate: list[Gate] = []


def _asks_in_vain(fd: int) -> bool:
    """Lock for writing; whether that was a deadlock."""
    try:
        lock(fd, WRITE)
    except OSError as error:
        if error.errno != errno.EDEADLK:
            raise
        return True
    return False


def _ring(own: int, following: int, rounds: int) -> list[bool]:
    """In which rounds it was this one of the ring that was refused."""
    refused = []
    for _ in range(rounds):
        lock(own, WRITE)
        _gate[-1].pass_through()
        refused.append(_asks_in_vain(following))
        if not refused[-1]:
            unlock(following)
        unlock(own)
    return refused


def _upgrade(fd: int, rounds: int) -> list[bool]:
    refused = []
    for _ in range(rounds):
        lock(fd, READ)
        _gate[-1].pass_through()
        refused.append(_asks_in_vain(fd))
        unlock(fd)
    return refused


def _run(
    members: Sequence[Actor],
    gate: Gate,
    rounds: int,
    function: Callable[..., list[bool]],
    *args: Sequence[int],
) -> None:
    before = counters()
    for index, actor in enumerate(members):
        actor.start(function, *(column[index] for column in args), rounds)
    for _ in range(rounds):
        gate.open_once()
    refused = [actor.result() for actor in members]
    assert [sum(one_round) for one_round in zip(*refused, strict=True)] == [1] * rounds
    assert counters()["deadlocks"] - before["deadlocks"] == rounds
    assert counters()["revokes"] == before["revokes"]


@pytest.mark.parametrize(
    ("size", "rounds"),
    [
        (2, 50),
        (3, 30),
        (8, 10),
        pytest.param(8, 200, marks=pytest.mark.slow),
        pytest.param(2, 2000, marks=pytest.mark.slow),
    ],
)
def test_race_to_close_a_ring(
    bufs: Buffers, actors: Actors, gates: Callable[[int], Gate], size: int, rounds: int
) -> None:
    fds = bufs(size)
    _gate[:] = [gates(size)]
    _run(actors(size), _gate[0], rounds, _ring, fds, fds[1:] + fds[:1])


def test_race_to_close_a_ring_with_a_set_in_line(
    bufs: Buffers, actors: Actors, gates: Callable[[int], Gate]
) -> None:
    """Who is left of the ring must pass the set, which waits for it."""
    a, b = bufs(2)
    _gate[:] = [gates(2)]
    one, two, third = actors(3)
    rounds = 30
    before = counters()
    one.start(_ring, a, b, rounds)
    two.start(_ring, b, a, rounds)
    for _ in range(rounds):
        until(lambda: {one.pid, two.pid} <= {x.pid for x in accesses() if x.state == "held"})
        third.start(_lock_set, [a, b])
        until_waiting(third)
        _gate[0].open_once()
        third.result()
    refused = [sum(one_round) for one_round in zip(one.result(), two.result(), strict=True)]
    assert refused == [1] * rounds
    assert counters()["revokes"] == before["revokes"]


def test_race_to_upgrade(buf: int, actors: Actors, gates: Callable[[int], Gate]) -> None:
    _gate[:] = [gates(2)]
    _run(actors(2), _gate[0], 50, _upgrade, [buf, buf])


def _hold_and_ask(own: int, other: int, rounds: int) -> None:
    for _ in range(rounds):
        lock(own, READ)
        _gate[-1].pass_through()  # the writers queue up
        _gate[-1].pass_through()
        lock(other, READ)
        unlock(other)
        unlock(own)


def _write(fd: int) -> None:
    lock(fd, WRITE)
    unlock(fd)


def test_race_that_only_the_order_makes_a_cycle(
    bufs: Buffers, actors: Actors, gates: Callable[[int], Gate]
) -> None:
    """Each holds one buffer for reading and asks for the other's, a writer waiting on each."""
    a, b = bufs(2)
    _gate[:] = [gates(2)]
    one, two, *writers = actors(4)
    before = counters()
    one.start(_hold_and_ask, a, b, 20)
    two.start(_hold_and_ask, b, a, 20)
    for _ in range(20):
        _gate[0].open_once()
        for writer, fd in zip(writers, (a, b), strict=True):
            writer.start(_write, fd)
            until_waiting(writer, fd)
        _gate[0].open_once()
        for writer in writers:
            writer.result()
    one.result()
    two.result()
    assert counters()["deadlocks"] == before["deadlocks"]
    assert counters()["overtakes"] > before["overtakes"]


def _tangle(fds: list[int], party: list[Actor], wanted: tuple[int, int], moved_length: int) -> None:
    """Up to the last request, which makes a cycle of order: "one" for c.

    "two" waits for "one", the bystander `wanted`, and behind both "moved", of which "other" holds a
    part; "other" waits for the bystander.
    """
    queue, b, c = fds
    one, two, moved, other, bystander = party
    one.call(lock, queue, WRITE, 0, 10)
    other.call(lock, queue, WRITE, 20, 10)
    bystander.call(lock, b, WRITE)
    moved.call(lock, c, WRITE)
    for actor, span in ((two, (0, 20)), (bystander, wanted), (moved, (10, moved_length))):
        actor.start(lock, queue, WRITE, *span)
        until_waiting(actor, queue)
    other.start(lock, b, WRITE)
    until_waiting(other, b)


def _untangled(fds: list[int], party: list[Actor]) -> None:
    """All are served, the bystander first."""
    _, _, moved, other, bystander = party
    bystander.result()
    for fd in fds[:2]:
        bystander.call(unlock, fd)
    other.result()
    other.call(unlock, fds[0])
    moved.result()


def test_bystander_is_not_passed(bufs: Buffers, actors: Actors) -> None:
    """It does not wait behind "two", so it stays in front, or another cycle would be made."""
    fds = bufs(3)
    in_the_way, *party = actors(6)
    in_the_way.call(lock, fds[0], WRITE, 35, 5)
    _tangle(fds, party, (30, 10), 30)
    before = counters()["overtakes"]
    party[0].start(lock, fds[2], WRITE)
    until(lambda: counters()["overtakes"] > before, "overtaking")
    in_the_way.call(unlock, fds[0])
    _untangled(fds, party)
    assert counters()["overtakes"] == before + 1


def test_bystander_is_moved_out_of_a_new_cycle(bufs: Buffers, actors: Actors) -> None:
    """It waits behind "two" and is passed with it, by one who waits for it: so it has to pass."""
    fds = bufs(3)
    party = actors(5)
    _tangle(fds, party, (15, 5), 20)
    party[0].start(lock, fds[2], WRITE)
    _untangled(fds, party)


def test_second_upgrade_with_a_set_in_line(buf: int, actors: Actors) -> None:
    one, two, third = actors(3)
    one.call(lock, buf, READ)
    two.call(lock, buf, READ)
    third.start(_lock_set, [buf])
    until_waiting(third, buf)
    one.start(lock, buf, WRITE)  # passes the set, which waits for it
    until_waiting(one, buf)
    with pytest.raises(OSError, match=rf"\[Errno {errno.EDEADLK}\]"):
        two.call(lock, buf, WRITE)
    two.call(unlock, buf)
    one.result()
    assert third.running()
    one.call(unlock, buf)
    third.result()


def _lock_set(fds: list[int]) -> None:
    with Sync("set") as sync:
        for fd in fds:
            sync.add(fd, Access.WRITE)
        with sync.locked():
            pass
