# SPDX-License-Identifier: MIT
"""The driver API, function by function: sets and single buffers (C11)."""

from __future__ import annotations

import errno
import os
import re
import select
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import Actor, until
from driver import (
    DMA_READ,
    DMA_WRITE,
    F_READ,
    F_WRITE,
    FROM_DEVICE,
    NO_DIRECTION,
    READ,
    RESVS,
    TO_DEVICE,
    WRITE,
    Driver,
    export,
    fails,
)
from locks import lock, test, trylock, unlock
from state import accesses, until_waiting, waiting

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
Drivers = Callable[..., Driver]
SetParameter = Callable[[str, int], None]

pytestmark = pytest.mark.usefixtures("_driver_module")


def test_is_supported(drivers: Drivers) -> None:
    assert drivers(None).is_supported()


def test_set_of_a_driver(bufs: Buffers, drivers: Drivers, actors: Actors) -> None:
    a, b = bufs(2)
    (other,) = actors(1)
    driver = drivers()
    driver.get(a, DMA_READ)
    driver.get(b, DMA_WRITE)
    driver.lock()
    assert [(x.kind, x.type, x.name) for x in accesses(b)] == [("kernel", "W+DMA", "dsync_test")]
    other.call(trylock, a, F_READ)
    with pytest.raises(BlockingIOError):
        other.call(trylock, a, F_WRITE)
    with pytest.raises(BlockingIOError):
        trylock(b, F_READ)
    assert test(b, F_READ) == (F_WRITE, 0, 0, -1)
    driver.unlock()
    assert [x.kind for x in accesses()] == ["posix"]
    lock(b, F_READ)
    with pytest.raises(BlockingIOError):
        driver.trylock()
    assert [x.kind for x in accesses()] == ["posix", "posix"]
    unlock(b)
    driver.trylock()
    driver.unlock()


def test_driver_waits_and_is_granted(buf: int, drivers: Drivers, actors: Actors) -> None:
    (holder,) = actors(1)
    holder.call(lock, buf, F_WRITE)
    (waiter,) = actors(1)
    waiter.start(_lock, buf)
    until_waiting(waiter, buf)
    holder.call(unlock, buf)
    waiter.result()


def test_driver_that_is_interrupted_leaves_nothing(buf: int, actors: Actors) -> None:
    (waiter,) = actors(1)
    lock(buf, F_WRITE)
    waiter.start(_lock, buf)
    until_waiting(waiter, buf)
    waiter.kill()
    until(lambda: not waiting(buf), "leaving of a killed driver call")
    unlock(buf)


_kept: list[Driver] = []


def _lock(fd: int) -> None:
    driver = Driver()
    _kept.append(driver)
    driver.get(fd, WRITE)
    driver.lock()


def test_editing(bufs: Buffers, drivers: Drivers) -> None:
    a, b = bufs(2)
    driver = drivers()
    for access in (0, 4, 8, 8 | READ):
        with fails(errno.EINVAL):
            driver.get(a, access)
        with fails(errno.EINVAL):
            driver.get_resv(0, access)
    with fails(errno.EINVAL):
        driver.lock()  # empty
    driver.get(a, READ)
    with fails(errno.EEXIST):
        driver.get(a, WRITE)
    twin = os.dup(a)
    with fails(errno.EEXIST):
        driver.get(twin, READ)
    with fails(errno.ENOENT):
        driver.put(b)
    driver.get_resv(0, READ)
    with fails(errno.EEXIST):
        driver.get_resv(0, WRITE)
    driver.lock()
    for call in (
        lambda: driver.get(b, READ),
        lambda: driver.get_resv(1, READ),
        lambda: driver.put(a),
        driver.put_all,
        driver.lock,
        driver.trylock,
        driver.submit,
        driver.cancel,
    ):
        with fails(errno.EBUSY):
            call()
    driver.unlock()
    driver.put(twin)  # the same dma-buf
    with fails(errno.ENOENT):
        driver.put(a)
    driver.put_all()
    with fails(errno.EINVAL):
        driver.trylock()
    driver.get(a, READ)
    os.close(twin)


def test_set_keeps_its_buffers_alive(bufs: Buffers, drivers: Drivers) -> None:
    (fd,) = bufs(1)
    driver = drivers()
    driver.get(fd, WRITE)
    os.close(fd)
    driver.lock()
    assert len(accesses()) == 1
    driver.unlock()


def test_reservation_objects_without_dma_buf(drivers: Drivers, actors: Actors) -> None:
    one, two = drivers(), drivers()
    for index in range(RESVS):
        one.get_resv(index, DMA_WRITE)
    two.get_resv(RESVS - 1, READ)
    one.lock()
    assert [(access.ino, access.kind) for access in accesses()] == [(0, "kernel")] * RESVS
    with pytest.raises(BlockingIOError):
        two.trylock()
    one.unlock()
    two.lock()
    with pytest.raises(BlockingIOError):
        one.trylock()
    one.submit()
    with pytest.raises(BlockingIOError):
        one.fence()
    two.unlock()
    one.wait_started()
    (waiter,) = actors(1)
    waiter.start(_lock_resv, RESVS - 1)
    until_waiting(waiter)
    one.done()
    waiter.result()


def _lock_resv(index: int) -> None:
    driver = Driver()
    _kept.append(driver)
    driver.get_resv(index, WRITE)
    driver.lock()


def test_single_buffer(buf: int, drivers: Drivers, actors: Actors) -> None:
    driver, other = drivers(None), drivers(None)
    driver.single_lock(buf, READ)
    other.single_lock(buf, READ, wait=False)
    with pytest.raises(BlockingIOError):
        other.single_lock(buf, WRITE, wait=False)
    with fails(errno.EINVAL):
        other.single_lock(buf, 0)
    assert len(accesses(buf)) == 2
    driver.single_unlock(buf)
    other.single_unlock(buf)
    driver.single_lock(buf, DMA_WRITE)
    (waiter,) = actors(1)
    waiter.start(lock, buf, F_READ)
    until_waiting(waiter, buf)
    driver.single_unlock(buf)
    waiter.result()


def test_dma_of_an_attachment(buf: int, drivers: Drivers) -> None:
    driver, other = drivers(None), drivers(None)
    driver.start_dma(buf, TO_DEVICE)
    other.start_dma(buf, TO_DEVICE)
    trylock(buf, F_READ)
    with pytest.raises(BlockingIOError):
        trylock(buf, F_WRITE)
    driver.end_dma()
    other.end_dma()
    unlock(buf)
    driver.start_dma(buf, FROM_DEVICE)
    with pytest.raises(BlockingIOError):
        trylock(buf, F_READ)
    driver.end_dma()
    with fails(errno.EINVAL):
        driver.start_dma(buf, NO_DIRECTION)
    assert accesses(buf) == []


def test_a_user_that_goes_does_not_unlock_for_the_others(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, WRITE)
    driver.hold()
    driver.lock()
    driver.fini()
    with pytest.raises(BlockingIOError):
        trylock(buf, F_READ)
    driver.unlock()
    driver.fini()
    assert driver.state().order == "F"


def test_driver_hold_is_revoked_unless_it_is_dma(
    bufs: Buffers, drivers: Drivers, actors: Actors, set_parameter: SetParameter
) -> None:
    a, b = bufs(2)
    (waiter,) = actors(1)
    set_parameter("hold_timeout_ms", 20)
    driver = drivers()
    driver.get(a, WRITE)
    driver.get(b, DMA_WRITE)
    driver.lock()
    waiter.call(lock, a, F_WRITE)
    with pytest.raises(BlockingIOError):
        waiter.call(trylock, b, F_WRITE)
    with fails(errno.ETIMEDOUT):
        driver.unlock()


def test_two_dma_bufs_of_one_reservation_object(drivers: Drivers, actors: Actors) -> None:
    driver = drivers()
    a, b = export(2), export(2)
    (other,) = actors(1)
    try:
        trylock(a, F_WRITE, 0, 1)
        for start in (0, 4096):  # ranges of different dma-bufs cannot be compared
            with pytest.raises(BlockingIOError):
                other.call(trylock, b, F_READ, start, 1)
        assert other.call(test, b, F_READ) == (F_WRITE, 0, 0, os.getpid())
        other.call(trylock, a, F_WRITE, 4096, 1)
        other.call(unlock, a)
        trylock(b, F_WRITE, 0, 1)  # its own
        unlock(b)
        other.start(lock, b, F_WRITE)
        until_waiting(other, b)
        unlock(a)
        other.result()
        with pytest.raises(BlockingIOError):
            trylock(a, F_READ)
        other.call(unlock, b)

        # Both in one set, and the bare object as well.
        driver.get(a, DMA_WRITE)
        driver.get(b, DMA_READ)
        driver.get_resv(2, DMA_WRITE)
        driver.lock()
        assert len(accesses()) == 3
        for fd in (a, b):
            with pytest.raises(BlockingIOError):
                trylock(fd, F_READ)
        driver.unlock()
        trylock(b, F_READ)
        with pytest.raises(BlockingIOError):
            driver.trylock()
        driver.submit()
        unlock(b)
        driver.wait_started()
        assert select.select([a, b], [], [], 0)[0] == []  # one fence
        driver.done()
        driver.wait_done()
        assert accesses() == []
    finally:
        driver.close()
        os.close(a)
        os.close(b)


def test_overdue(
    bufs: Buffers, drivers: Drivers, actors: Actors, set_parameter: SetParameter
) -> None:
    """Any buffer of the object, once somebody wants it; and not what has a deadline of its own."""
    set_parameter("hold_timeout_ms", 60_000)
    a, b, c = bufs(3)
    (other,) = actors(1)
    driver = drivers()
    driver.get(a, DMA_READ)
    driver.get(b, DMA_WRITE)
    assert not driver.overdue()  # not locked
    driver.lock()
    with pytest.raises(BlockingIOError):
        other.call(trylock, b, F_READ)
    other.start(lock, b, F_READ)
    until_waiting(other, b)
    assert not driver.overdue()
    set_parameter("hold_timeout_ms", 1)
    until(driver.overdue, "a hold of a millisecond")
    driver.unlock()
    other.result()
    assert not driver.overdue()
    other.call(unlock, b)

    driver.lock()
    time.sleep(0.01)
    other.call(trylock, a, F_READ)
    assert not driver.overdue()
    with pytest.raises(BlockingIOError):
        other.call(trylock, a, F_WRITE)
    assert driver.overdue()
    driver.unlock()
    driver.put_all()

    driver.get(c, WRITE)
    driver.lock()
    time.sleep(0.01)
    other.call(lock, c, F_WRITE)
    assert not driver.overdue()
    with pytest.raises(TimeoutError):
        driver.unlock()


def _undefined(path: str) -> set[str]:
    """Symbols that an ELF object for 64 bits takes from elsewhere."""
    with open(path, "rb") as file:
        image = file.read()
    (table,) = struct.unpack_from("<Q", image, 40)
    size, count = struct.unpack_from("<HH", image, 58)
    # Elf64_Shdr: name, type, flags, addr, offset, size, link, info, addralign, entsize
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + size * i) for i in range(count)]
    found = set()
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind != 2:  # SHT_SYMTAB; link says where the names are
            continue
        # Elf64_Sym: name, info, other, shndx, value, size
        symbols = struct.iter_unpack("<IBBHQQ", image[offset : offset + length])
        for name in (name for name, _, _, section, *_ in symbols if section == 0):
            start = sections[link][4] + name
            found.add(image[start : image.index(b"\0", start)].decode())
    return found


def test_no_function_is_forgotten() -> None:
    """The module of these tests uses all that dmabuf_sync exports."""
    exported = set()
    for path in Path("kernel/dmabuf_sync").glob("*.c"):
        exported |= set(re.findall(r"^EXPORT_SYMBOL_GPL\((\w+)\);", path.read_text(), re.M))
    header = Path("kernel/include/linux/dmabuf-sync.h").read_text()
    # Of prototypes only: what the comments name, they name elsewhere.
    declared = set(re.findall(r"^[a-z][^\n]*?\*?(dma_?buf_\w+)\(", header, re.M))
    assert exported and exported == declared
    folder = os.environ["DMABUF_SYNC_MODULES"]
    assert exported - _undefined(f"{folder}/dsync_test/dsync_test.ko") == set()
