# SPDX-License-Identifier: MIT
"""Strict buffers: what is mapped can be touched with a lock of the right kind, else SIGBUS."""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from exporter_calls import LIBC, PAGE, SIZE, alloc, closing
from locks import READ, WRITE, lock, ofd_lock, trylock, unlock
from state import until_waiting

from dmabuf_sync import Access, Blitter, DmaBuf, LockRevoked, Sync
from dmabuf_sync._uapi import lib

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]
TRACING = "/sys/kernel/tracing"
MADV_DOFORK = 11
FINE, BUS, SEGV = 0, -signal.SIGBUS, -signal.SIGSEGV


@pytest.fixture
def strict(device: int) -> Iterator[DmaBuf]:
    with DmaBuf(alloc(device, flags=lib.VDMABUF_ALLOC_STRICT)) as made:
        yield made


def outcome(function: Callable[[], None]) -> int:
    """How a child ends that does this: 0, or minus the signal that it got."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def touch(buffer: DmaBuf, steps: str) -> int:
    """What becomes of a process that does these steps on the first byte of pages.

    r and w read and write page 0, R and W page 3; l and k lock for reading and
    writing; L and K only page 3; u unlocks, U only page 3.
    """

    def run() -> None:
        fd = buffer.fileno()
        with buffer.map() as m:
            for step in steps:
                if step in "rR":
                    m[0 if step == "r" else 3 * PAGE]
                elif step in "wW":
                    m[0 if step == "w" else 3 * PAGE] = 1
                elif step in "lk":
                    lock(fd, READ if step == "l" else WRITE)
                elif step in "LK":
                    lock(fd, READ if step == "L" else WRITE, 3 * PAGE + 9, 1)
                else:
                    unlock(fd, 0 if step == "u" else 3 * PAGE, 0 if step == "u" else PAGE)

    return outcome(run)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("", FINE),
        ("r", BUS),
        ("w", BUS),
        ("lr", FINE),
        ("lrR", FINE),
        ("lw", BUS),
        ("lrw", BUS),
        ("kw", FINE),
        ("krw", FINE),
        ("kwrWR", FINE),
        ("lru", FINE),
        ("lrur", BUS),
        ("kwur", BUS),
        ("kwulr", FINE),
        ("kwulw", BUS),
        # A part.
        ("LR", FINE),
        ("Lr", BUS),
        ("LW", BUS),
        ("KWR", FINE),
        ("KWr", BUS),
        ("kwWUrw", FINE),
        ("kwWUR", BUS),
        ("kWUlR", FINE),
        # Downgrade and upgrade.
        ("kwlr", FINE),
        ("kwlw", BUS),
        ("kwWLRw", FINE),
        ("lrkw", FINE),
    ],
)
def test_fcntl(strict: DmaBuf, steps: str, expected: int) -> None:
    assert touch(strict, steps) == expected


def test_other_buffers_are_as_ever(device: int) -> None:
    with DmaBuf(alloc(device)) as buffer:
        assert touch(buffer, "rwlwuw") == FINE


def test_lock_of_another_process(strict: DmaBuf, actors: Actors) -> None:
    (holder,) = actors(1)
    holder.call(lock, strict.fileno(), READ)
    assert touch(strict, "r") == BUS
    assert touch(strict, "lr") == FINE
    holder.call(unlock, strict.fileno())


def _read_on(buffer: DmaBuf) -> None:
    with buffer.map(Access.READ) as m:
        lock(buffer.fileno(), READ)
        for n in range(0, SIZE, PAGE):
            m[n]
        os.kill(os.getppid(), signal.SIGUSR1)
        signal.sigwait({signal.SIGUSR2})
        for n in range(0, SIZE, PAGE):
            m[n]


def test_one_reader_leaves_and_the_other_goes_on(strict: DmaBuf) -> None:
    blocked = {signal.SIGUSR1, signal.SIGUSR2}
    old = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    reader = os.fork()
    if reader == 0:
        _read_on(strict)
        os._exit(0)
    signal.sigwait({signal.SIGUSR1})
    assert touch(strict, "lru") == FINE
    os.kill(reader, signal.SIGUSR2)
    assert os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1]) == FINE
    signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_open_file_description(strict: DmaBuf) -> None:
    """All who share the buffer share the description, and what it holds."""
    ofd_lock(strict.fileno(), READ)
    assert touch(strict, "r") == FINE
    assert touch(strict, "w") == BUS
    ofd_lock(strict.fileno(), 2)
    assert touch(strict, "r") == BUS


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_sync_object(strict: DmaBuf, access: Access) -> None:
    def use() -> None:
        with Sync("strict") as sync, strict.map() as m:
            sync.add(strict, access)
            with sync.locked():
                m[0]
                m[1] = 1

    def use_late() -> None:
        with Sync("strict") as sync, strict.map() as m:
            sync.add(strict, access)
            with sync.locked():
                m[0]
            m[0]

    assert outcome(use) == (FINE if access is Access.WRITE else BUS)
    assert outcome(use_late) == BUS


def test_lock_for_dma_is_none_for_the_cpu(strict: DmaBuf) -> None:
    def use() -> None:
        with Sync("strict") as sync, strict.map() as m:
            sync.add(strict, Access.WRITE | Access.DMA)
            with sync.locked():
                m[0]

    assert outcome(use) == BUS


def test_revoked(strict: DmaBuf, actors: Actors, set_parameter: SetParameter) -> None:
    """The pages are gone before the next one has the lock."""
    set_parameter("hold_timeout_ms", 50)
    fd = strict.fileno()
    (other,) = actors(1)
    ready, done = os.pipe(), os.pipe()

    def hold() -> None:
        with strict.map() as m:
            lock(fd, WRITE)
            m[0] = 7
            os.write(ready[1], b".")
            os.read(done[0], 1)
            m[0] = 8

    child = os.fork()
    if child == 0:
        faulthandler.disable()
        hold()
        os._exit(0)
    os.read(ready[0], 1)
    other.call(lock, fd, WRITE)
    os.write(done[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == BUS
    other.call(unlock, fd)
    for end in (*ready, *done):
        os.close(end)
    with strict.locked(Access.READ), strict.map(Access.READ) as m:
        assert m[0] == 7


def test_revoked_holder_is_told(
    strict: DmaBuf, actors: Actors, set_parameter: SetParameter
) -> None:
    set_parameter("hold_timeout_ms", 50)
    (other,) = actors(1)
    strict.lock(Access.WRITE)
    other.call(lock, strict.fileno(), READ)
    with pytest.raises(LockRevoked):
        strict.unlock()
    other.call(unlock, strict.fileno())


def test_fork_does_not_inherit(strict: DmaBuf) -> None:
    with strict.map() as m:
        lock(strict.fileno(), READ)
        m[0]
        assert outcome(lambda: m[0] and None) == SEGV
        # Nor can the process have it otherwise.
        address = ctypes.addressof(ctypes.c_char.from_buffer(m))
        assert LIBC.madvise(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), MADV_DOFORK) == -1
        assert ctypes.get_errno() == errno.EINVAL
        assert outcome(lambda: m[0] and None) == SEGV
        unlock(strict.fileno())


def test_system_calls_get_efault(strict: DmaBuf) -> None:
    """The kernel is the process's arm: no signal, but an error."""
    with strict.map() as m, closing(os.memfd_create("sink")) as sink:
        address = ctypes.addressof(ctypes.c_char.from_buffer(m))
        assert LIBC.write(sink, ctypes.c_void_p(address), 8) == -1
        lock(strict.fileno(), READ)
        assert LIBC.write(sink, ctypes.c_void_p(address), 8) == 8
        unlock(strict.fileno())


def test_offender_is_named(strict: DmaBuf) -> None:
    enable = f"{TRACING}/events/vdmabuf/vdmabuf_unlocked_access/enable"
    with open(f"{TRACING}/trace", "w"):
        pass
    with open(enable, "w") as file:
        file.write("1")

    def offend() -> None:
        with open("/proc/self/comm", "w") as file:
            file.write("offender")
        with strict.map() as m:
            m[5 * PAGE + 3] = 1

    assert outcome(offend) == BUS
    with open(enable, "w") as file:
        file.write("0")
    with open(f"{TRACING}/trace") as file:
        lines = [line.split("vdmabuf_unlocked_access: ")[-1] for line in file if "ino=" in line]
    (line,) = lines
    fields = dict(word.split("=", 1) for word in line.split())
    assert int(fields["ino"]) == os.fstat(strict.fileno()).st_ino
    assert (fields["type"], int(fields["offset"])) == ("W", 5 * PAGE + 3)
    assert fields["comm"] == "offender" and int(fields["pid"]) > 0


@pytest.mark.coherency
def test_devices_are_not_concerned(strict: DmaBuf) -> None:
    with Blitter() as blitter:
        blitter.fill(strict, 0x61, bytes_per_pixel=1).wait(timeout=20)
    with strict.locked(Access.READ), strict.map(Access.READ) as m:
        assert bytes(m[:]) == b"a" * SIZE


def _count(fd: int, rounds: int) -> None:
    with DmaBuf(os.dup(fd)) as buffer, buffer.map() as m:
        for _ in range(rounds):
            lock(fd, WRITE, 0, 8)
            value = int.from_bytes(m[:8], "little")
            m[:8] = (value + 1).to_bytes(8, "little")
            unlock(fd)


def test_contended(strict: DmaBuf, actors: Actors) -> None:
    """No fault is refused to who holds the lock, and no page stays with who does not."""
    counters = actors(3)
    for actor in counters:
        actor.start(_count, strict.fileno(), 200)
    for actor in counters:
        actor.result()
    with strict.locked(Access.READ), strict.map(Access.READ) as m:
        assert int.from_bytes(m[:8], "little") == 600
    assert touch(strict, "r") == BUS


def test_next_waits_for_the_pages(strict: DmaBuf, actors: Actors) -> None:
    fd = strict.fileno()
    first, second = actors(2)
    first.call(lock, fd, WRITE)
    second.start(lock, fd, WRITE)
    until_waiting(second, fd)
    first.call(unlock, fd)
    second.result()
    with pytest.raises(BlockingIOError):
        first.call(trylock, fd, READ)
    second.kill()
    until(lambda: not first.call(_try, fd))


def _try(fd: int) -> bool:
    try:
        trylock(fd, READ)
    except BlockingIOError:
        return True
    unlock(fd)
    return False


def _framework_references() -> int:
    with open("/sys/module/dmabuf_sync/refcnt") as file:
        return int(file.read())


def test_framework_stays_loaded(device: int) -> None:
    before = _framework_references()
    with closing(alloc(device, flags=lib.VDMABUF_ALLOC_STRICT)):
        assert _framework_references() == before + 1
    assert _framework_references() == before


def _read_in_turns(fd: int, rounds: int) -> None:
    for _ in range(rounds):
        trylock(fd, READ)
        unlock(fd)


def test_readers_never_fail_for_readers(strict: DmaBuf, actors: Actors) -> None:
    """One's pages are being taken away while the other tries: that is not a conflict."""
    readers = actors(3)
    for actor in readers:
        actor.start(_read_in_turns, strict.fileno(), 400)
    for actor in readers:
        actor.result()
