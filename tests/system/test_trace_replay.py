# SPDX-License-Identifier: MIT
"""Stress of all kinds of access at once, its trace replayed through the rules of the model."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from actors import Actor, until
from anything import HOLD_MS, anything
from locks import WRITE, lock, unlock
from state import accesses

from dmabuf_sync import DmaBuf, Exporter
from dmabuf_sync.trace import Recorder, parse, replay

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]
MIB = 1 << 20
MADV_POPULATE_READ = 22


def _stress(fds: list[int], seed: int, processes: int, rounds: int, kills: int) -> None:
    """Let processes lock until they are through; some are killed and have successors."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        running = []
        for _ in range(processes):
            actor = stack.enter_context(Actor())
            actor.start(anything, fds, chance.getrandbits(32), rounds)
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
            heir.start(anything, fds, chance.getrandbits(32), rounds)
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


def _lock_and_look(buffer: DmaBuf, half: tuple[int, int], rounds: int) -> None:
    with mmap.mmap(buffer.fileno(), buffer.size) as m:
        for _ in range(rounds):
            lock(buffer.fileno(), WRITE, *half)
            with contextlib.suppress(OSError):  # EFAULT: unlocked by the other thread
                m.madvise(MADV_POPULATE_READ, *half)
            unlock(buffer.fileno())


def test_threads_on_strict_memory() -> None:
    """One locks again while the other's pages are taken away."""
    halves = (0, 4 * MIB), (4 * MIB, 4 * MIB)
    with (
        Exporter() as exporter,
        exporter.allocate(8 * MIB, strict=True) as buffer,
        Recorder() as recorder,
    ):
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(_lock_and_look, buffer, half, 100) for half in halves]:
                done.result()
        recorder.stop()
        counts = _checked(recorder.log(), "threads")
    assert counts["leave"] >= 100, counts


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
