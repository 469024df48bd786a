# SPDX-License-Identifier: MIT
"""A device that wants to read what a writer has left to the CPU's readers (C2, C10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import allocate, available
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses

from dmabuf_sync import Blitter, DmaBuf

Actors = Callable[[int], list[Actor]]


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


def test_readers_do_not_keep_a_device_from_a_dirty_buffer(
    source: int, buf: int, actors: Actors
) -> None:
    writer, reader, late = actors(3)
    writer.call(lock, source, WRITE, 0, 10)
    reader.call(lock, source, READ, 20, 10)
    writer.call(unlock, source)
    until(lambda: _who(source, "held") == [reader.pid], "handing over to the reader")
    with Blitter() as blitter, blitter.copy(source, buf, 4096, wait=False) as job:
        assert _who(source, "waiting") == ["job"]
        late.call(trylock, source, READ, 40, 10)
        reader.call(unlock, source)
        # It has not left anything to the late one, which goes on reading.
        job.wait(20)
        assert _who(source, "held") == [late.pid]
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
