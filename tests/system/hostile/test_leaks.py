# SPDX-License-Identifier: MIT
"""Locks without end leave nothing behind (C3)."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from itertools import pairwise

import pytest
from locks import WRITE, trylock, unlock
from state import DEBUG_KERNEL, accesses, counters

from dmabuf_sync import Access, Sync

Buffers = Callable[[int], list[int]]

# A debug kernel finds a leak of one object by itself.
ROUNDS = 20_000 if DEBUG_KERNEL else 1_000_000
# Bytes: far less than the smallest object for each round.
ALLOWED = 4 << 20
PARTS = 10
CACHES = ("dsync_queue", "dsync_access")


def _memory() -> int:
    """Bytes that are in use, whatever for."""
    gc.collect()
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("3")
    with open("/proc/meminfo") as file:
        kib = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in file)}
    return 1024 * (kib["MemTotal"] - kib["MemFree"])


def _objects() -> int:
    """Queues and accesses, and others of their size: the kernel may keep them together."""
    count = 0
    for cache in CACHES:
        with contextlib.suppress(FileNotFoundError), open(f"/sys/kernel/slab/{cache}/objects") as f:
            count += int(f.read().split()[0])
    return count


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_million_locks_of_a_set(bufs: Buffers) -> None:
    fds = bufs(3)
    with Sync("million") as sync:
        for fd in fds:
            sync.add(fd, Access.WRITE)
        for _ in range(1000):
            sync.lock()
            sync.unlock()
        objects, grants = _objects(), counters()["grants"]
        lock, release = sync.lock, sync.unlock
        used = [_memory()]
        for _ in range(PARTS):
            for _ in range(ROUNDS // PARTS):
                lock()
                release()
            used.append(_memory())
        assert counters()["grants"] == grants + 3 * ROUNDS
        assert accesses() == []
        # Others use memory as well, now and then: a leak grows all the time.
        assert min(after - before for before, after in pairwise(used)) < ALLOWED // PARTS
        assert _objects() - objects < ROUNDS // 10


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_thousand_locks_that_come_to_nothing(bufs: Buffers) -> None:
    fds = bufs(3)
    rounds = ROUNDS // 10
    with Sync("vain") as sync:
        for fd in fds:
            sync.add(fd, Access.WRITE)
        before, objects = _memory(), _objects()
        for index in range(rounds):
            if index == 1000:  # what the kernel keeps ready is there by now
                before, objects = _memory(), _objects()
            trylock(fds[1], WRITE)
            with contextlib.suppress(BlockingIOError):
                sync.lock(blocking=False)
            with contextlib.suppress(TimeoutError):
                sync.lock(timeout=0)
            sync.request()
            sync.unlock()  # taken back while it waits
            unlock(fds[1])
            sync.request()
            sync.unlock()  # taken back wherever it is
        assert accesses() == []
        assert _memory() - before < ALLOWED
        assert _objects() - objects < rounds // 10
