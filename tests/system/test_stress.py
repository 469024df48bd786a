# SPDX-License-Identifier: MIT
"""Processes, sync objects, drivers and jobs on the same buffers, all at once.

A byte for each buffer and party tells how the party uses the buffer, and each looks at the
others' while it has the lock.
"""

from __future__ import annotations

import errno
import mmap
import os
import random
from collections.abc import Callable

import pytest
from actors import Actor
from buffers import allocate, available
from driver import DMA_READ, DMA_WRITE, Driver, export
from locks import READ, WRITE, lock, trylock, unlock
from state import counters

from dmabuf_sync import Access, Sync

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]

_PARTIES = 8
_BUFFERS = 3
_board: list[mmap.mmap] = []


@pytest.fixture
def _patience(set_parameter: SetParameter) -> None:
    """Nobody is revoked: that would hide a cycle."""
    set_parameter("hold_timeout_ms", 60_000)
    set_parameter("job_timeout_ms", 60_000)


def _check(index: int, uses: dict[int, bool]) -> int:
    """Say what we use, look at what the others use, and say no more; how many conflicts."""
    board = _board[-1]
    conflicts = 0
    for buffer, write in uses.items():
        board[buffer * _PARTIES + index] = 2 if write else 1
    for _ in range(3):
        for buffer, write in uses.items():
            for other in range(_PARTIES):
                said = board[buffer * _PARTIES + other]
                if other != index and said and (write or said == 2):
                    conflicts += 1
    for buffer in uses:
        board[buffer * _PARTIES + index] = 0
    return conflicts


def _fcntl_turn(index: int, fds: list[int], uses: dict[int, bool]) -> int:
    """One after the other, in any order: there will be deadlocks."""
    try:
        for buffer, write in uses.items():
            lock(fds[buffer], WRITE if write else READ)
        return _check(index, uses)
    except OSError as error:
        if error.errno != errno.EDEADLK:
            raise
        return 0
    finally:
        for buffer in uses:
            unlock(fds[buffer])


def _sync_turn(index: int, fds: list[int], uses: dict[int, bool], chance: random.Random) -> int:
    with Sync("turn") as sync:
        for buffer, write in uses.items():
            sync.add(fds[buffer], Access.WRITE if write else Access.READ)
        if chance.random() < 0.2:
            sync.request()
            return 0  # taken back by close()
        try:
            sync.lock(timeout=0.001 if chance.random() < 0.2 else None)
        except TimeoutError:
            return 0
        conflicts = _check(index, uses)
        sync.unlock()
        return conflicts


def _driver_turn(
    index: int, fds: list[int], uses: dict[int, bool], job: bool, chance: random.Random
) -> int:
    with Driver() as driver:
        for buffer, write in uses.items():
            driver.get(fds[buffer], DMA_WRITE if write else DMA_READ)
        if not job:
            driver.lock()
            conflicts = _check(index, uses)
            driver.unlock()
            return conflicts
        driver.submit()
        if chance.random() < 0.2:
            return 0  # taken back by close(), or ended at its start
        driver.wait_started()
        conflicts = _check(index, uses)
        driver.done()
        return conflicts


def _turns(index: int, fds: list[int], rounds: int, seed: int) -> int:
    chance = random.Random(seed)
    conflicts = 0
    for _ in range(rounds):
        chosen = chance.sample(range(_BUFFERS), chance.randint(1, _BUFFERS))
        uses = {buffer: chance.random() < 0.5 for buffer in chosen}
        if index % 4 == 0:
            conflicts += _fcntl_turn(index, fds, uses)
        elif index % 4 == 1:
            conflicts += _sync_turn(index, fds, uses, chance)
        else:
            conflicts += _driver_turn(index, fds, uses, index % 4 == 3, chance)
    return conflicts


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_driver_module", "_patience")
@pytest.mark.parametrize("rounds", [20, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("exporter", ["vdmabuf", "udmabuf", "bare"])
def test_stress_of_all_kinds(actors: Actors, exporter: str, rounds: int) -> None:
    """With and without cache maintenance, which may keep a device from reading along."""
    if exporter == "bare":
        fds = [export(index) for index in range(_BUFFERS)]
    elif available(exporter):
        fds = [allocate(exporter, 65536) for _ in range(_BUFFERS)]
    else:
        pytest.skip(f"this kernel has no {exporter}")
    _board[:] = [mmap.mmap(-1, _BUFFERS * _PARTIES)]
    before = counters()
    members = actors(_PARTIES)
    for index, actor in enumerate(members):
        actor.start(_turns, index, fds, rounds, index)
    for actor in members:
        assert actor.result(20 + rounds) == 0
    assert counters()["revokes"] == before["revokes"]
    for fd in fds:
        trylock(fd, WRITE)
        os.close(fd)
