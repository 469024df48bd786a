# SPDX-License-Identifier: MIT
"""Data between CPU and device (C10), on a machine that is not coherent: swiotlb=force.

There a device reads and writes copies (bounce buffers) which cache maintenance
brings up to date. So a missing lock shows in the data. The same tests run on a
coherent machine, where only the right data is asked for.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import BOUNCING, allocate, available, vgem_node
from locks import WRITE, lock, unlock

from dmabuf_sync import Access, Blitter, DmaBuf, Job

Actors = Callable[[int], list[Actor]]
SIZE = 65536
TAIL = SIZE - 4096
_PRIME_FD_TO_HANDLE = 0xC00C642E

pytestmark = pytest.mark.coherency


@pytest.fixture(params=["vdmabuf", "heap"])
def source(request: pytest.FixtureRequest) -> Iterator[DmaBuf]:
    if not available(request.param):
        pytest.skip(f"this kernel has no {request.param}")
    with DmaBuf(allocate(request.param, SIZE)) as made:
        yield made


@pytest.fixture
def target() -> Iterator[DmaBuf]:
    with DmaBuf(allocate("vdmabuf", SIZE)) as made:
        yield made


@pytest.fixture
def slow_blitter() -> Iterator[Blitter]:
    """It takes most of a second for a buffer."""
    path = "/sys/module/vblit/parameters/bytes_per_second"
    with Blitter() as made:
        with open(path, "w") as file:
            file.write("80000")
        try:
            yield made
        finally:
            with open(path, "w") as file:
                file.write("0")


# For actors, who know what was here when they were made.
_known: dict[int, DmaBuf] = {}


def _write_known(fd: int, at: int, data: bytes) -> None:
    _write(_known[fd], at, data)


def _started(job: Job) -> bool:
    return job.info().started_ns > 0


def _write(buffer: DmaBuf, at: int, data: bytes) -> None:
    """Without a lock."""
    with buffer.map() as memory:
        memory[at : at + len(data)] = data


def _read(buffer: DmaBuf, at: int, length: int) -> bytes:
    with buffer.map(Access.READ) as memory:
        return bytes(memory[at : at + length])


def _write_locked(buffer: DmaBuf, at: int, data: bytes) -> None:
    with buffer.locked(Access.WRITE, timeout=20, offset=at, length=len(data)):
        _write(buffer, at, data)


def test_with_locks_the_device_reads_what_was_written(
    source: DmaBuf, target: DmaBuf, slow_blitter: Blitter
) -> None:
    _write_locked(source, TAIL, b"old!")
    job = slow_blitter.copy(source, target, SIZE)
    until(lambda: _started(job))
    _write_locked(source, TAIL, b"new!")  # waits for the job
    assert job.done
    with target.locked(Access.READ, timeout=20):
        assert _read(target, TAIL, 4) == b"old!"
    slow_blitter.copy(source, target, SIZE).wait(20)
    with target.locked(Access.READ, timeout=20):
        assert _read(target, TAIL, 4) == b"new!"


def test_without_locks_the_device_reads_stale_data(
    source: DmaBuf, target: DmaBuf, slow_blitter: Blitter
) -> None:
    _write_locked(source, TAIL, b"old!")
    job = slow_blitter.copy(source, target, SIZE)
    until(lambda: _started(job))
    _write(source, TAIL, b"new!")  # long before the engine comes there
    assert not job.done
    job.wait(20)
    with target.locked(Access.READ, timeout=20):
        assert _read(target, TAIL, 4) == (b"old!" if BOUNCING else b"new!")


def test_without_locks_what_the_cpu_writes_is_lost(
    source: DmaBuf, slow_blitter: Blitter
) -> None:
    if not BOUNCING:
        pytest.skip("on a coherent machine it depends on who comes last")
    job = slow_blitter.fill(source, 0)
    until(lambda: _started(job))
    _write(source, 0, b"mine")
    assert not job.done
    job.wait(20)
    with source.locked(Access.READ, timeout=20):
        assert _read(source, 0, 4) == bytes(4)
    _write_locked(source, 0, b"mine")
    with source.locked(Access.READ, timeout=20):
        assert _read(source, 0, 4) == b"mine"


@pytest.mark.parametrize("device_looks_on", [False, True])
def test_range_holders_keep_each_others_bytes(
    source: DmaBuf, target: DmaBuf, actors: Actors, device_looks_on: bool
) -> None:
    """Caches are cleaned for whole buffers, when the last of them is done."""
    fd = source.fileno()
    _known[fd] = source
    one, two = actors(2)
    card = None
    if device_looks_on:
        node = vgem_node()
        if node is None:
            pytest.skip("this kernel has no vgem")
        card = os.open(node, os.O_RDWR)  # stays mapped, through bounce buffers of its own
        fcntl.ioctl(card, _PRIME_FD_TO_HANDLE, bytearray(struct.pack("IIi", 0, 0, fd)))
    half = SIZE // 2
    for actor, at in ((one, 0), (two, half)):
        actor.call(lock, fd, WRITE, at, half)
        actor.call(_write_known, fd, at, bytes([at // half + 1]) * half)
    one.call(_write_known, fd, 4, b"more")
    two.call(unlock, fd, half, half)
    one.call(unlock, fd, 0, half)
    expected = bytearray(b"\1" * half + b"\2" * half)
    expected[4:8] = b"more"
    with Blitter() as blitter:
        blitter.copy(source, target, SIZE).wait(20)
    for buffer in (source, target):
        with buffer.locked(Access.READ, timeout=20):
            assert _read(buffer, 0, SIZE) == expected
    if card is not None:
        os.close(card)
