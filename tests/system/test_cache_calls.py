# SPDX-License-Identifier: MIT
"""What an exporter sees of locks (C10): its calls are watched from outside, with kernel probes."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import BOUNCING, allocate, available
from locks import READ, WRITE, lock, trylock, unlock
from modules import symbol
from probe import KernelProbe
from state import accesses, until_waiting

from dmabuf_sync import Access, Sync, Udmabuf

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]
SIZE = 65536

# enum dma_data_direction
BIDIRECTIONAL, FROM_DEVICE = "0", "2"
BEGIN_WRITE, END_WRITE = ("begin", BIDIRECTIONAL), ("end", BIDIRECTIONAL)
BEGIN_READ, END_READ = ("begin", FROM_DEVICE), ("end", FROM_DEVICE)

Calls = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def heap_buf() -> Iterator[int]:
    if not available("heap") or symbol("system_heap_dma_buf_begin_cpu_access") is None:
        pytest.skip("this kernel has no system heap")
    fd = allocate("heap", SIZE)
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def calls(heap_buf: int) -> Iterator[Calls]:
    """calls(): (begin or end, direction) of all calls so far, all of one buffer."""
    probe = KernelProbe(
        begin="system_heap_dma_buf_begin_cpu_access dmabuf=%di:x64 direction=%si:s32",
        end="system_heap_dma_buf_end_cpu_access dmabuf=%di:x64 direction=%si:s32",
    )
    with probe:

        def so_far() -> list[tuple[str, str]]:
            found = probe.calls()
            assert len({fields["dmabuf"] for _, fields in found}) <= 1
            return [(name, fields["direction"]) for name, fields in found]

        yield so_far


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(READ, [BEGIN_READ, END_READ]), (WRITE, [BEGIN_WRITE, END_WRITE])],
)
def test_unlock(
    heap_buf: int, calls: Calls, kind: int, expected: list[tuple[str, str]]
) -> None:
    lock(heap_buf, kind)
    assert calls() == expected[:1]
    unlock(heap_buf, 100, 10)  # a part, and the rest
    assert calls() == expected[:1]
    unlock(heap_buf)
    assert calls() == expected
    unlock(heap_buf)
    assert calls() == expected


def test_upgrade_begins_once_more_and_ends_in_reverse(heap_buf: int, calls: Calls) -> None:
    lock(heap_buf, READ)
    lock(heap_buf, WRITE)
    lock(heap_buf, READ)
    unlock(heap_buf)
    seen = calls()
    assert seen[:2] == [BEGIN_READ, BEGIN_WRITE]
    assert sorted(seen[2:]) == sorted([END_WRITE, END_READ])


@pytest.mark.parametrize("how", ["exit", "kill", "close"])
def test_death(heap_buf: int, calls: Calls, actors: Actors, how: str) -> None:
    (holder,) = actors(1)
    holder.call(lock, heap_buf, WRITE, 0, 10)
    holder.call(lock, heap_buf, READ, 20, 10)
    if how == "exit":
        holder.quit()
    elif how == "kill":
        holder.kill()
    else:
        holder.call(os.close, heap_buf)
    until(lambda: not accesses(heap_buf), "release")
    assert calls() == [BEGIN_WRITE, END_WRITE]


def test_revoke(
    heap_buf: int, calls: Calls, actors: Actors, set_parameter: SetParameter
) -> None:
    holder, waiter = actors(2)
    set_parameter("hold_timeout_ms", 20)
    holder.call(lock, heap_buf, WRITE)
    with Sync("device") as sync:
        sync.add(heap_buf, Access.READ | Access.DMA)
        sync.lock(timeout=20)
        assert calls() == [BEGIN_WRITE, END_WRITE]  # before the device has it
        sync.unlock()
    with pytest.raises(OSError, match=rf"\[Errno {errno.ETIMEDOUT}\]"):
        holder.call(unlock, heap_buf)
    assert calls() == [BEGIN_WRITE, END_WRITE]
    waiter.call(lock, heap_buf, READ)
    waiter.call(unlock, heap_buf)
    assert calls() == [BEGIN_WRITE, END_WRITE, BEGIN_READ, END_READ]


def test_nothing_between_two_of_the_cpu(heap_buf: int, calls: Calls, actors: Actors) -> None:
    first, second = actors(2)
    first.call(lock, heap_buf, WRITE)
    second.start(lock, heap_buf, WRITE)
    until_waiting(second, heap_buf)
    first.call(unlock, heap_buf)
    second.result()
    assert calls() == [BEGIN_WRITE]
    second.call(unlock, heap_buf)
    assert calls() == [BEGIN_WRITE, END_WRITE]


def test_refused_and_opted_out_do_nothing(heap_buf: int, calls: Calls, actors: Actors) -> None:
    (holder,) = actors(1)
    with Sync("own maintenance", cache=False) as sync:
        sync.add(heap_buf, Access.WRITE)
        sync.lock(timeout=20)
        with pytest.raises(BlockingIOError):
            trylock(heap_buf, READ)
        sync.unlock()
    assert calls() == []
    holder.call(lock, heap_buf, READ)
    with pytest.raises(BlockingIOError):
        trylock(heap_buf, WRITE)
    holder.call(unlock, heap_buf)
    assert calls() == [BEGIN_READ, END_READ]


def test_sync_object(heap_buf: int, calls: Calls) -> None:
    with Sync("pair") as sync:
        sync.add(heap_buf, Access.WRITE)
        sync.lock(timeout=20)
        assert calls() == [BEGIN_WRITE]
        sync.unlock()
        assert calls() == [BEGIN_WRITE, END_WRITE]


@pytest.mark.coherency
def test_failed_begin_undoes_the_grant() -> None:
    """udmabuf maps at its first begin_cpu_access: with nothing left to bounce through it fails."""
    if not BOUNCING or not available("udmabuf"):
        pytest.skip("needs udmabuf and swiotlb=force")
    with contextlib.ExitStack() as stack:
        udmabuf = stack.enter_context(Udmabuf())
        for _ in range(3):
            # Together more than the default 64 MiB of bounce buffers.
            fd = stack.enter_context(udmabuf.allocate(48 << 20)).fileno()
            try:
                lock(fd, READ)
            except OSError as error:
                assert error.errno not in (errno.EAGAIN, errno.EINTR)
                assert accesses(fd) == []
                with Sync("undone") as sync:
                    sync.add(fd, Access.READ)
                    with pytest.raises(OSError, match=rf"\[Errno {error.errno}\]"):
                        sync.lock(timeout=20)
                    assert accesses(fd) == []
                return
            unlock(fd)
    pytest.fail("no begin_cpu_access failed")
