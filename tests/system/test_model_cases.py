# SPDX-License-Identifier: MIT
"""Cases that the model found to matter, and what mutants showed that no other test sees."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import allocate, available
from locks import READ, WRITE, lock, unlock
from probe import KernelProbe
from state import accesses, counters, parameter, proc_locks, until_waiting, waiting

from dmabuf_sync import Access, Blitter, Sync
from dmabuf_sync.trace import Recorder, parse

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
SetParameter = Callable[[str, int], None]

# struct dma_buf_ops: what begin and end_cpu_access are told (enum dma_data_direction).
BIDIRECTIONAL = 0


def test_set_that_was_overtaken_is_not_ready_any_more(bufs: Buffers) -> None:
    """Its readiness is out of date, since the scan stops at the writer in front of it."""
    a, b = bufs(2)
    with Sync("reader") as reader, Sync("set") as waiting_set:
        reader.add(a, Access.READ)
        reader.lock()
        lock(b, WRITE)
        waiting_set.add(a, Access.READ)
        waiting_set.add(b, Access.WRITE)
        waiting_set.request()  # could have a, waits for us on b
        before = counters()["overtakes"]
        thread = threading.Thread(target=lock, args=(a, WRITE), daemon=True)
        thread.start()  # waits for the reader, in front of the set: that waits for us
        until(lambda: counters()["overtakes"] > before, "overtaking")
        unlock(b)
        assert [access.state for access in accesses(b)] == ["waiting"]
        assert select.select([waiting_set], [], [], 0)[0] == []
        reader.unlock()
        thread.join(20)
        unlock(a)
        assert select.select([waiting_set], [], [], 20)[0]
        waiting_set.unlock()


def test_only_what_is_wanted_is_revoked(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    untouched, holder = actors(2)
    set_parameter("hold_timeout_ms", 30)
    untouched.call(lock, buf, WRITE, 100, 10)
    holder.call(lock, buf, WRITE, 0, 10)
    lock(buf, WRITE, 0, 10)  # both are due by now, one is in the way
    assert sorted(pid for _, _, pid in proc_locks(buf)) == sorted([os.getpid(), untouched.pid])
    unlock(buf)
    untouched.call(unlock, buf)


def test_locking_again_leaves_the_deadline_where_it_was(buf: int) -> None:
    with Recorder() as recorder:
        lock(buf, WRITE)
        lock(buf, WRITE)
        lock(buf, READ, 0, 10)
        unlock(buf)
        recorder.stop()
        (leave,) = [event for event in parse(recorder.log()) if event.name == "leave"]
    # From the grant to now, and from now to the deadline.
    hold_ns = int(leave.fields["since_ns"]) + int(leave.fields["left_ns"])
    assert hold_ns == parameter("hold_timeout_ms") * 1_000_000


def test_who_stops_waiting_lets_those_behind_it_pass(buf: int, actors: Actors) -> None:
    (late,) = actors(1)
    lock(buf, READ)
    with Sync("writer") as writer:
        writer.add(buf, Access.WRITE)
        writer.request()
        late.start(lock, buf, READ)
        until_waiting(late, buf)
        writer.unlock()  # takes the request back; nothing else happens to the queue
        late.result()


def test_reader_that_leaves_the_queue_lets_nobody_past_a_writer(buf: int, actors: Actors) -> None:
    holder, writer, doomed, late = actors(4)
    holder.call(lock, buf, READ)
    writer.start(lock, buf, WRITE)
    until_waiting(writer, buf)
    doomed.start(lock, buf, READ)
    until_waiting(doomed, buf)
    late.start(lock, buf, READ)
    until_waiting(late, buf)
    doomed.kill()
    until(lambda: doomed.pid not in waiting(buf), "leaving of the killed reader")
    assert waiting(buf) == [writer.pid, late.pid]
    holder.call(unlock, buf)
    writer.result()
    assert late.running()
    writer.call(unlock, buf)
    late.result()


@pytest.fixture
def heap_calls() -> Iterator[KernelProbe]:
    """Counts the calls of the system heap's cache maintenance from outside."""
    if not available("heap"):
        pytest.skip("this kernel has no heap")
    with KernelProbe(
        begin="system_heap_dma_buf_begin_cpu_access dir=%si:s32",
        end="system_heap_dma_buf_end_cpu_access dir=%si:s32",
    ) as probe:
        yield probe


def test_revoked_hold_ends_what_it_began(
    heap_calls: KernelProbe, actors: Actors, set_parameter: SetParameter
) -> None:
    """A device gets it: the caches are cleaned first, though nobody unlocked."""
    set_parameter("hold_timeout_ms", 30)
    fd = allocate("heap", 65536)
    (holder,) = actors(1)
    holder.call(lock, fd, WRITE)
    with Blitter() as blitter, blitter.fill(fd, 1) as job:
        job.wait(20)
    calls = [(name, int(fields["dir"])) for name, fields in heap_calls.calls()]
    assert calls == [("begin", BIDIRECTIONAL), ("end", BIDIRECTIONAL)]
    os.close(fd)
