# SPDX-License-Identifier: MIT
"""Stress of all kinds of access at once, its trace replayed through the rules of the model."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import Actor, until
from locks import READ, WRITE, lock, ofd_lock, ofd_trylock, trylock, unlock
from state import accesses

from dmabuf_sync import Access, Blitter, Sync
from dmabuf_sync.trace import Recorder, parse, replay

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]

HOLD_MS = 20


def _range(chance: random.Random) -> tuple[int, int]:
    return chance.choice([(0, 0), (0, 4096), (4096, 4096), (2048, 4096)])


def _processes_lock(fds: list[int], chance: random.Random) -> None:
    """Of this process: one lock on top of the other, upgrades, parts given back."""
    for _ in range(chance.randint(1, 3)):
        fd = chance.choice(fds)
        call = chance.choice([lock, lock, trylock])
        with contextlib.suppress(OSError):  # EAGAIN, EDEADLK, ETIMEDOUT
            call(fd, chance.choice([READ, WRITE]), *_range(chance))
        if chance.random() < 0.2:
            with contextlib.suppress(OSError):
                unlock(fd, *_range(chance))
    if chance.random() < 0.05:
        time.sleep(2 * HOLD_MS / 1000)
    for fd in fds:
        with contextlib.suppress(OSError):
            unlock(fd)


def _set_lock(fds: list[int], chance: random.Random) -> None:
    """Several buffers; at times a lock is taken back before it is granted, or held too long."""
    with Sync("set") as sync:
        for fd in chance.sample(fds, chance.randint(1, len(fds))):
            sync.add(fd, chance.choice([Access.READ, Access.WRITE]))
        how = chance.random()
        try:
            if how < 0.2:
                sync.request()
                time.sleep(chance.choice([0, 0.001]))
            elif how < 0.4:
                sync.lock(blocking=False)
            else:
                sync.lock(timeout=chance.choice([0.002, 5]))
            if how > 0.95:
                time.sleep(2 * HOLD_MS / 1000)
            sync.unlock()
        except OSError:
            pass  # EAGAIN, ETIMEDOUT


def _jobs(fds: list[int], chance: random.Random) -> None:
    with Blitter() as blitter:
        for _ in range(chance.randint(1, 4)):
            src, dst = chance.sample(fds, 2)
            if chance.random() < 0.5:
                blitter.copy(src, dst, 4096, wait=False).close()
            else:
                blitter.fill(dst, chance.getrandbits(32), wait=False).close()


def _description_lock(fds: list[int], chance: random.Random) -> None:
    fd = chance.choice(fds)
    with contextlib.suppress(OSError):
        chance.choice([ofd_lock, ofd_trylock])(fd, chance.choice([READ, WRITE]), *_range(chance))
    with contextlib.suppress(OSError):
        ofd_trylock(fd, 2)


def _anything(fds: list[int], seed: int, rounds: int) -> None:
    """Lock in all ways there are; errors are part of it."""
    chance = random.Random(seed)
    ways = [_processes_lock] * 4 + [_set_lock] * 4 + [_jobs] * 2 + [_description_lock]
    for _ in range(rounds):
        chance.choice(ways)(fds, chance)


def _stress(fds: list[int], seed: int, processes: int, rounds: int, kills: int) -> None:
    """Let processes lock until they are through; some are killed and have successors."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        running = []
        for _ in range(processes):
            actor = stack.enter_context(Actor())
            actor.start(_anything, fds, chance.getrandbits(32), rounds)
            running.append(actor)
        for _ in range(kills):
            time.sleep(0.02)
            doomed = chance.choice(running)
            if not doomed.running():
                break
            doomed.send_signal(signal.SIGKILL)
            doomed.kill()
            running.remove(doomed)
            heir = stack.enter_context(Actor())
            heir.start(_anything, fds, chance.getrandbits(32), rounds)
            running.append(heir)
        for actor in running:
            actor.result(timeout=300)


def _checked(log: list[str], name: str) -> Counter[str]:
    """Replay a log; one that breaks a rule is kept in build/."""
    try:
        return replay(parse(log))
    except Exception:
        os.makedirs("build", exist_ok=True)
        Path(f"build/trace-{name}.log").write_text("".join(log))
        raise


def _record(fds: list[int], seed: int, processes: int, rounds: int, kills: int) -> Counter[str]:
    with Recorder() as recorder:
        _stress(fds, seed, processes, rounds, kills)
        until(lambda: not accesses(), "giving back all buffers")
        recorder.stop()
        return _checked(recorder.log(), str(seed))


# What a stress run has to contain to be worth its time.
EXPECTED = ("after waiting", "shared", "cancel", "hold", "unlock", "revoke", "job_end")


def test_stress_follows_the_rules(bufs: Buffers, set_parameter: SetParameter) -> None:
    set_parameter("hold_timeout_ms", HOLD_MS)
    counts = _record(bufs(3), seed=1, processes=4, rounds=60, kills=4)
    assert not [name for name in EXPECTED if not counts[name]], counts


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_long_stress_follows_the_rules(
    bufs: Buffers, set_parameter: SetParameter, seed: int
) -> None:
    set_parameter("hold_timeout_ms", HOLD_MS)
    counts = _record(bufs(2 + seed), seed, processes=8, rounds=300, kills=30)
    assert not [name for name in EXPECTED if not counts[name]], counts
    assert counts["overtake"] + counts["deadlock"] > 0
