# SPDX-License-Identifier: MIT
"""Everything that somebody can do with locks, at random."""

from __future__ import annotations

import contextlib
import random
import time

from locks import READ, WRITE, lock, ofd_lock, ofd_trylock, trylock, unlock

from dmabuf_sync import Access, Blitter, Sync

HOLD_MS = 20
"""What hold_timeout_ms is to be: now and then somebody holds for twice as long."""


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


def anything(fds: list[int], seed: int, rounds: int) -> None:
    """Lock in all ways there are; errors are part of it."""
    chance = random.Random(seed)
    ways = [_processes_lock] * 4 + [_set_lock] * 4 + [_jobs] * 2 + [_description_lock]
    for _ in range(rounds):
        chance.choice(ways)(fds, chance)
