# SPDX-License-Identifier: MIT
"""Every allocation of every call of the API for drivers fails once, and those of the workers."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

import injector
import pytest
from buffers import allocate
from driver import DMA_READ, DMA_WRITE, QUICK, READ, WRITE, Driver, export, hook_calls
from exhaustion import CLEAN, SIZE, Case, Stack, closes, exhaust
from injector import Injector
from locks import READ as F_READ
from locks import WRITE as F_WRITE
from locks import trylock, unlock

from dmabuf_sync import Access, Blitter, Sync

Make = Callable[[Driver, list[int], Stack], Case]


def renews(driver: Driver, writes: list[int]) -> Callable[[], None]:
    """A new sync object that writes these buffers: the old one has room, and the fence of a job."""

    def renew() -> None:
        with contextlib.suppress(OSError):
            driver.cancel()
        driver.fini()
        driver.init(QUICK)
        for fd in writes:
            driver.get(fd, DMA_WRITE)

    return renew


def run_a_job(driver: Driver, fd: int) -> None:
    driver.get(fd, DMA_WRITE)
    driver.submit()
    driver.wait_done()


# Sync objects


def init(driver: Driver, fds: list[int], stack: Stack) -> Case:
    def call() -> Driver:
        other = Driver(None)
        try:
            other.init()
        except OSError:
            other.close()
            raise
        return other

    return Case(call, closes)


def get(driver: Driver, fds: list[int], stack: Stack) -> Case:
    def call() -> None:
        for fd in fds:
            driver.get(fd, DMA_WRITE)

    return Case(call, before=renews(driver, []))


def get_range(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.get_range(fds[0], WRITE, 1, 2), before=renews(driver, []))


def get_resv(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.get_resv(0, DMA_WRITE), before=renews(driver, []))


def put(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.put(fds[0]), before=renews(driver, fds[:2]))


def put_all(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(driver.put_all, before=renews(driver, fds))


def lock(driver: Driver, fds: list[int], stack: Stack) -> Case:
    for fd in fds:
        driver.get(fd, WRITE)
    driver.get_resv(0, DMA_READ)
    return Case(driver.lock, lambda _: driver.unlock())


def lock_ranges(driver: Driver, fds: list[int], stack: Stack) -> Case:
    driver.get_range(fds[0], WRITE, 1, 2)
    driver.get_range(fds[1], READ, 0, 1)
    return Case(driver.lock, lambda _: driver.unlock())


def try_to_lock(driver: Driver, fds: list[int], stack: Stack) -> Case:
    for fd in fds:
        driver.get(fd, DMA_READ)
    return Case(driver.trylock, lambda _: driver.unlock())


def unlock_all(driver: Driver, fds: list[int], stack: Stack) -> Case:
    for fd in fds:
        driver.get(fd, WRITE)
    driver.lock()
    return Case(driver.unlock, lambda _: driver.lock())


# Single buffers, and exporters


def single_lock(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.single_lock(fds[0], READ), lambda _: driver.single_unlock(fds[0]))


def single_unlock(driver: Driver, fds: list[int], stack: Stack) -> Case:
    driver.single_lock(fds[0], WRITE)
    stack.callback(driver.single_unlock, fds[0])
    return Case(lambda: driver.single_unlock(fds[0]), lambda _: driver.single_lock(fds[0], WRITE))


def start_dma(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.start_dma(fds[0], 1), lambda _: driver.end_dma())


def register_exporter(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(driver.register_exporter, lambda _: driver.unregister_exporter())


def hooked(driver: Driver, stack: Stack) -> int:
    """A buffer whose exporter begins and ends ranges."""
    driver.register_exporter()
    stack.callback(driver.unregister_exporter)
    fd = export(0, hooks=True)
    stack.callback(os.close, fd)
    return fd


def lock_hooked(driver: Driver, fds: list[int], stack: Stack) -> Case:
    fd = hooked(driver, stack)
    driver.get_range(fd, WRITE, 1, 2)
    return Case(driver.lock, lambda _: driver.unlock())


def unlock_part_of_hooked(driver: Driver, fds: list[int], stack: Stack) -> Case:
    fd = hooked(driver, stack)
    stack.callback(unlock, fd)
    return Case(lambda: unlock(fd, 4096, 4096), before=lambda: trylock(fd, F_WRITE, 0, 3 * 4096))


def may_access(driver: Driver, fds: list[int], stack: Stack) -> Case:
    trylock(fds[0], F_READ)
    stack.callback(unlock, fds[0])
    return Case(lambda: driver.cpu_may_access(fds[0], 0, 1, False))


# Jobs


def add_fence(driver: Driver, fds: list[int], stack: Stack) -> Case:
    run_a_job(driver, fds[0])
    fence = driver.fence()
    stack.callback(os.close, fence)

    def call() -> None:
        for _ in fds:
            driver.add_fence(fence)

    return Case(call, before=renews(driver, []))


def set_device(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.set_device(1))


def set_explicit(driver: Driver, fds: list[int], stack: Stack) -> Case:
    return Case(lambda: driver.set_explicit(True))


def submit(driver: Driver, fds: list[int], stack: Stack) -> Case:
    new = renews(driver, fds)

    def renew() -> None:
        new()
        driver.get_resv(0, DMA_READ)

    return Case(driver.submit, lambda _: driver.wait_done(), before=renew)


def submit_explicitly(driver: Driver, fds: list[int], stack: Stack) -> Case:
    """Behind a fence, for a device of its own."""
    run_a_job(driver, fds[0])
    fence = driver.fence()
    stack.callback(os.close, fence)
    new = renews(driver, fds[:2])

    def renew() -> None:
        new()
        driver.set_explicit(True)
        driver.set_device(1)
        driver.add_fence(fence)

    return Case(driver.submit, lambda _: driver.wait_done(), before=renew)


def submit_that_waits(driver: Driver, fds: list[int], stack: Stack) -> Case:
    trylock(fds[0], F_WRITE)
    stack.callback(unlock, fds[0])
    return Case(driver.submit, before=renews(driver, fds[:2]))


def cancel(driver: Driver, fds: list[int], stack: Stack) -> Case:
    """A job that waits."""
    trylock(fds[0], F_WRITE)
    stack.callback(unlock, fds[0])
    new = renews(driver, fds[:2])

    def renew() -> None:
        new()
        driver.submit()

    return Case(driver.cancel, before=renew)


def wait_granted(driver: Driver, fds: list[int], stack: Stack) -> Case:
    run_a_job(driver, fds[0])
    return Case(driver.wait_granted)


def wait_granted_killable(driver: Driver, fds: list[int], stack: Stack) -> Case:
    run_a_job(driver, fds[0])
    return Case(driver.wait_granted_killable)


def fence(driver: Driver, fds: list[int], stack: Stack) -> Case:
    run_a_job(driver, fds[0])
    return Case(driver.fence, os.close)


def job_file(driver: Driver, fds: list[int], stack: Stack) -> Case:
    run_a_job(driver, fds[0])
    return Case(driver.job_file, os.close)


CASES: list[Make] = [
    init,
    get,
    get_range,
    get_resv,
    put,
    put_all,
    lock,
    lock_ranges,
    try_to_lock,
    unlock_all,
    single_lock,
    single_unlock,
    start_dma,
    register_exporter,
    lock_hooked,
    unlock_part_of_hooked,
    may_access,
    add_fence,
    set_device,
    set_explicit,
    submit,
    submit_explicitly,
    submit_that_waits,
    cancel,
    wait_granted,
    wait_granted_killable,
    fence,
    job_file,
]


@pytest.mark.parametrize("make", CASES)
def test_driver_api(
    inject: Injector, drivers: Callable[..., Driver], fds: list[int], make: Make
) -> None:
    def made(stack: Stack, fds: list[int]) -> Case:
        return make(drivers(QUICK), fds, stack)

    # Each takes its argument from user space at least.
    assert exhaust(inject, made, fds) > 0
    hook_calls()


WORKER_ALLOCATIONS = 12
"""More than a worker needs for anything of ours."""


@pytest.fixture
def failing_workers(every_allocation_counts: None) -> Iterator[None]:
    yield
    injector.arm_workers(0)


@pytest.mark.parametrize("nth", range(1, WORKER_ALLOCATIONS))
def test_workers(failing_workers: None, fds: list[int], nth: int) -> None:
    """A lock in the background and a job that waited are finished by workers."""
    with Sync("nth") as sync, Blitter() as blitter:
        for fd in fds[1:]:
            sync.add(fd, Access.WRITE)
        trylock(fds[0], F_WRITE)
        injector.arm_workers(nth)
        sync.request()
        job = blitter.copy(fds[0], fds[1], wait=False)
        unlock(fds[0])
        with contextlib.suppress(OSError):
            sync.lock()
        try:
            sync.unlock()
        except OSError as error:
            assert error.errno in (*CLEAN, errno.EPERM)
        try:
            job.wait(30)
        except OSError as error:
            assert error.errno == errno.ENOMEM
        job.close()
    # Everything works again.
    injector.arm_workers(0)
    for fd in fds:
        trylock(fd, F_WRITE)
        unlock(fd)
    os.close(allocate("vdmabuf", SIZE))
