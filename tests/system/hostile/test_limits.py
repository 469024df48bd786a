# SPDX-License-Identifier: MIT
"""What users may do at all, and how much one of them can have (docs/threat-model.md)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from actors import Actor, until
from driver import fails
from locks import READ, UNLOCK, WRITE, ofd_trylock, trylock, unlock
from state import accesses

from dmabuf_sync import Access, Blitter, Display, Exporter, Sync

Actors = Callable[[int], list[Actor]]
NOBODY, SOMEBODY, ROOT = 65534, 65533, 0
LIMIT = 3
DEVICES = ("dmabuf_sync", "vdmabuf", "vblit", "vblit-edu", "vdisplay")

# What an actor has, opened while it was still root.
_open: list[Any] = []
_has: list[Any] = []


def _become(uid: int) -> None:
    _open.extend([Exporter(), Blitter()])
    Sync("opens the device").close()
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def _make(kind: str, fd: int) -> int:
    """One more; how many it has."""
    exporter, blitter = _open
    if kind == "buffer":
        _has.append(exporter.allocate(4096))
    elif kind == "object":
        _has.append(Sync("more"))
    elif kind == "display":
        _has.append(Display())
    else:
        _has.append(blitter.fill(fd, 1, wait=False))
    return len(_has)


def _drop() -> None:
    _has.pop().close()


@pytest.fixture(params=["buffer", "object", "job", "display"])
def kind(request: pytest.FixtureRequest) -> Iterator[str]:
    """What there is a limit of; it is low during the test."""
    name = {
        "buffer": "vdmabuf/parameters/max_user_buffers",
        "object": "dmabuf_sync/parameters/max_user_objects",
        "job": "dmabuf_sync/parameters/max_user_jobs",
        "display": "vdisplay/parameters/max_user_displays",
    }[request.param]
    path = Path("/sys/module", name)
    old = path.read_text()
    path.write_text(str(LIMIT))
    # Each open is one more display, unlike with the other devices.
    os.chmod("/dev/vdisplay", 0o666)
    yield request.param
    os.chmod("/dev/vdisplay", 0o660)
    path.write_text(old)


@pytest.fixture(autouse=True)
def _locked_for_long(set_parameter: Callable[[str, int], None]) -> None:
    """Jobs are kept back by a lock that nobody takes away meanwhile."""
    set_parameter("hold_timeout_ms", 60_000)


def test_a_user_gets_so_many_and_others_still_theirs(buf: int, actors: Actors, kind: str) -> None:
    one, same, other, root = actors(4)
    for actor, uid in ((one, NOBODY), (same, NOBODY), (other, SOMEBODY), (root, ROOT)):
        actor.call(_become, uid)
    # Jobs stay as long as they are kept back.
    trylock(buf, WRITE)
    for count in range(1, LIMIT + 1):
        assert one.call(_make, kind, buf) == count
    for actor in (one, same):
        with fails(errno.ENOSPC):
            actor.call(_make, kind, buf)
    for count in range(1, LIMIT + 1):
        assert other.call(_make, kind, buf) == count
    with fails(errno.ENOSPC):
        other.call(_make, kind, buf)
    for count in range(1, 2 * LIMIT):
        assert root.call(_make, kind, buf) == count
    if kind == "job":
        unlock(buf)
        until(lambda: not accesses(buf), "the end of all jobs")
    else:
        one.call(_drop)
    assert same.call(_make, kind, buf) == 1


def test_what_is_gone_does_not_count(buf: int, actors: Actors, kind: str) -> None:
    """Also when the process is killed that had it."""
    first, second = actors(2)
    for actor in (first, second):
        actor.call(_become, NOBODY)
    trylock(buf, WRITE)
    for _ in range(LIMIT):
        first.call(_make, kind, buf)
    first.kill()

    def again() -> bool:
        try:
            return bool(second.call(_make, kind, buf))
        except OSError:
            return False

    # What a killed process had is closed a little later.
    until(again, "counting what is gone")
    unlock(buf)


@pytest.mark.parametrize("name", DEVICES)
def test_devices_are_not_for_everybody(actors: Actors, name: str) -> None:
    if name == "vblit-edu" and not os.path.exists("/dev/vblit-edu"):
        pytest.skip("this guest has no edu")
    node = os.stat(f"/dev/{name}")
    assert stat.S_IMODE(node.st_mode) == 0o660
    assert node.st_uid == 0
    (actor,) = actors(1)
    actor.call(_become, NOBODY)
    with fails(errno.EACCES):
        actor.call(os.open, f"/dev/{name}", os.O_RDWR)


def test_a_sharer_needs_no_more_than_the_buffer(buf: int, actors: Actors) -> None:
    """fcntl() is for who has the descriptor."""
    (actor,) = actors(1)
    actor.call(_become, NOBODY)
    actor.call(trylock, buf, WRITE)
    with pytest.raises(BlockingIOError):
        trylock(buf, READ)
    with Sync("root") as sync:
        sync.add(buf, Access.READ)
        with pytest.raises(BlockingIOError):
            sync.lock(blocking=False)
    actor.call(unlock, buf)
    for path in ("buffers", "stats"):
        with fails(errno.EACCES):
            actor.call(os.open, f"/sys/kernel/debug/dmabuf_sync/{path}", os.O_RDONLY)


def _lock_pieces(fd: int, count: int) -> None:
    """In an actor: every second byte."""
    for index in range(count):
        trylock(fd, READ, 2 * index, 1)


def test_an_owner_locks_so_many_pieces(buf: int, actors: Actors) -> None:
    """Also when a lock is cut in two; what makes no more pieces goes on, and so do others."""
    one, other = actors(2)
    one.call(_lock_pieces, buf, 1023)
    one.call(trylock, buf, READ, 10_000, 100)
    for call, first, length in (
        (partial(trylock, buf, READ), 20_000, 1),
        (partial(trylock, buf, WRITE), 10_040, 1),
        (partial(unlock, buf), 10_040, 1),
    ):
        with fails(errno.ENOLCK):
            one.call(call, first, length)
    other.call(_lock_pieces, buf, 1)
    one.call(ofd_trylock, buf, READ, 20_000, 1)
    one.call(ofd_trylock, buf, UNLOCK)
    one.call(trylock, buf, READ, 10_040, 1)  # has it
    one.call(unlock, buf, 10_000, 10)
    one.call(unlock, buf, 0, 1)
    one.call(trylock, buf, READ, 20_000, 1)
    other.call(unlock, buf)
    one.call(trylock, buf, WRITE)  # all pieces become one
    one.call(unlock, buf, 10_040, 1)
    one.call(unlock, buf)
