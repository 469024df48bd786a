# SPDX-License-Identifier: MIT
"""A device that wants to read what a writer has left to the CPU's readers (C2, C10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from actors import Actor
from buffers import allocate, available
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses, counters

from dmabuf_sync import Blitter, DmaBuf

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]


@pytest.fixture
def source() -> Iterator[int]:
    """A buffer whose exporter synchronises it as a whole: its readers keep each other's caches."""
    name = next(filter(available, ("udmabuf", "heap")), None)
    if not name:
        pytest.skip("this kernel has neither udmabuf nor a heap")
    with DmaBuf(allocate(name, 65536)) as buffer:
        yield buffer.fileno()


def _who(fd: int, state: str) -> list[int | str]:
    found = [access for access in accesses(fd) if access.state == state]
    return [access.pid if access.kind == "posix" else access.kind for access in found]


def _nobody_writes(fd: int, writer: Actor, reader: Actor, how: str) -> None:
    """One has written; at the end only readers are left, the first of them `reader`."""
    if how == "handed over":
        reader.call(lock, fd, READ, 20, 10)
        writer.call(unlock, fd)
    elif how == "downgraded":
        writer.call(lock, fd, READ)
    else:
        writer.call(lock, fd, READ, 0, 5)
        writer.call(unlock, fd, 5)


@pytest.mark.parametrize("how", ["handed over", "downgraded", "shrunk"])
@pytest.mark.parametrize("first", ["device", "readers"])
def test_readers_do_not_keep_a_device_from_a_dirty_buffer(
    source: int, buf: int, actors: Actors, set_parameter: SetParameter, how: str, first: str
) -> None:
    set_parameter("hold_timeout_ms", 100)
    writer, reader, late = actors(3)
    writer.call(lock, source, WRITE, 0, 10)
    revokes = counters()["revokes"]
    if first == "readers":
        _nobody_writes(source, writer, reader, how)
    else:
        set_parameter("hold_timeout_ms", 60_000)
        writer.call(unlock, source)
        writer.call(lock, source, WRITE, 0, 10)
    with Blitter() as blitter, blitter.copy(source, buf, 4096, wait=False) as job:
        if first == "device":
            assert _who(source, "waiting") == ["job"]
            _nobody_writes(source, writer, reader, how)
        job.wait(20)
        late.call(trylock, source, READ, 40, 10)
    # Nobody has lost anything, and the device has not waited for the readers to go.
    assert counters()["revokes"] == revokes
    reader.call(unlock, source)
    writer.call(unlock, source)
    late.call(unlock, source)


def test_readers_and_a_device_share_a_clean_buffer(source: int, buf: int, actors: Actors) -> None:
    reader, late = actors(2)
    reader.call(lock, source, READ, 20, 10)
    lock(buf, WRITE)
    with Blitter() as blitter, blitter.copy(source, buf, 4096, wait=False) as job:
        assert _who(source, "waiting") == ["job"]
        late.call(trylock, source, READ, 40, 10)
        unlock(buf)
        job.wait(20)
