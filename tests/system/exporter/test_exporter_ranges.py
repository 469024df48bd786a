# SPDX-License-Identifier: MIT
"""Range hooks (C10): a lock on some bytes synchronises those. The counters tell."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from actors import Actor, until
from exporter_calls import LINE, PAGE, SIZE, lock_lines, stats
from importer import Vgem
from locks import READ, UNLOCK, WRITE, lock, unlock
from state import until_waiting

from dmabuf_sync import DmaBuf

Actors = Callable[[int], list[Actor]]


def counted(function: Callable[[], None]) -> dict[str, float]:
    """What has been counted while `function` ran, bytes by the cache line."""
    before = stats()
    function()
    more: dict[str, float] = {
        name: value - before[name] for name, value in stats().items() if value != before[name]
    }
    if "synced_bytes" in more:
        more["synced_lines"] = more.pop("synced_bytes") / LINE
    return more


def test_only_the_range_is_synchronised(buffer: DmaBuf, vgem: Vgem) -> None:
    fd = buffer.fileno()
    handle = vgem.map(fd)
    assert counted(lambda: lock_lines(fd, READ, 10, 100)) == {"for_cpu": 1, "synced_lines": 100}
    assert counted(lambda: unlock(fd)) == {"for_device_skipped": 1}
    # Over the end of a page.
    first = 4 * PAGE // LINE - 96
    assert counted(lambda: lock_lines(fd, WRITE, first, 200)) == {
        "for_cpu": 1,
        "synced_lines": 200,
    }
    assert counted(lambda: unlock(fd)) == {"for_device": 1, "synced_lines": 200}
    # Whole, and beyond the end.
    assert counted(lambda: lock(fd, WRITE)) == {"for_cpu": 1, "synced_lines": SIZE // LINE}
    assert counted(lambda: unlock(fd)) == {"for_device": 1, "synced_lines": SIZE // LINE}
    assert counted(lambda: lock(fd, WRITE, SIZE, 5)) == {}
    assert counted(lambda: unlock(fd)) == {}
    vgem.drop(handle)


def test_what_is_begun_is_not_begun_again(buffer: DmaBuf, vgem: Vgem) -> None:
    fd = buffer.fileno()
    handle = vgem.map(fd)
    assert counted(lambda: lock_lines(fd, WRITE, 100, 100)) == {"for_cpu": 1, "synced_lines": 100}
    assert counted(lambda: lock_lines(fd, WRITE, 120, 20)) == {}
    assert counted(lambda: lock_lines(fd, READ, 100, 50)) == {}
    # Around it: two pieces, and one that was begun for reading only.
    assert counted(lambda: lock_lines(fd, READ, 50, 200)) == {"for_cpu": 2, "synced_lines": 100}
    assert counted(lambda: lock_lines(fd, WRITE, 50, 50)) == {"for_cpu": 1, "synced_lines": 50}
    # [50, 200) for writing, and two pieces around it for reading.
    assert counted(lambda: unlock(fd)) == {
        "for_device": 2,
        "for_device_skipped": 2,
        "synced_lines": 150,
    }
    vgem.drop(handle)


def test_part_of_a_lock_is_given_back(buffer: DmaBuf, vgem: Vgem) -> None:
    fd = buffer.fileno()
    handle = vgem.map(fd)
    lock_lines(fd, WRITE, 0, 500)
    assert counted(lambda: lock_lines(fd, UNLOCK, 200, 50)) == {
        "for_device": 1,
        "synced_lines": 50,
    }
    assert counted(lambda: lock_lines(fd, WRITE, 220, 5)) == {"for_cpu": 1, "synced_lines": 5}
    assert counted(lambda: lock_lines(fd, UNLOCK, 0, 200)) == {
        "for_device": 1,
        "synced_lines": 200,
    }
    assert counted(lambda: unlock(fd)) == {"for_device": 2, "synced_lines": 255}
    vgem.drop(handle)


def test_no_cache_work_between_processes(buffer: DmaBuf, vgem: Vgem, actors: Actors) -> None:
    fd = buffer.fileno()
    handle = vgem.map(fd)
    chain = actors(4)
    chain[0].call(lock_lines, fd, WRITE, 0, 100)
    before = stats()
    for actor, successor in itertools.pairwise(chain):
        successor.start(lock_lines, fd, WRITE, 0, 100)
        until_waiting(successor, fd)
        actor.call(unlock, fd)
        successor.result()
    assert stats() == before
    chain[-1].call(unlock, fd)
    assert stats()["synced_bytes"] == before["synced_bytes"] + 100 * LINE
    vgem.drop(handle)


def test_killed_holder(buffer: DmaBuf, vgem: Vgem, actors: Actors) -> None:
    fd = buffer.fileno()
    handle = vgem.map(fd)
    (holder,) = actors(1)
    holder.call(lock_lines, fd, WRITE, 0, 100)
    holder.call(lock_lines, fd, READ, 200, 100)
    before = stats()["synced_bytes"]
    holder.kill()
    until(lambda: stats()["synced_bytes"] == before + 100 * LINE, "end of the range")
    vgem.drop(handle)
