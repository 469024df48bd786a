# SPDX-License-Identifier: MIT
"""The driver API, function by function: what a job waits for beside its buffers (C6, C11)."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable

import pytest
from actors import Actor
from buffers import available
from driver import DMA_READ, DMA_WRITE, QUEUES, Driver, fails, warns
from state import waiting
from vgem import VgemBuffer

from dmabuf_sync import Access
from dmabuf_sync.job import Job, JobState

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
Drivers = Callable[..., Driver]
SetParameter = Callable[[str, int], None]

pytestmark = pytest.mark.usefixtures("_driver_module")


def test_fence_of_an_unrelated_job(bufs: Buffers, drivers: Drivers) -> None:
    a, b = bufs(2)
    first, second = drivers(), drivers()
    first.get(a, DMA_WRITE)
    second.get(b, DMA_WRITE)
    first.submit()
    first.wait_started()
    fence = first.fence()
    second.add_fence(fence)
    second.submit()
    with fails(errno.EBUSY):
        second.add_fence(fence)
    os.close(fence)
    second.wait_granted()
    assert second.state().order == "pg"
    first.done(-errno.EIO)  # its error is none of the second's business
    second.wait_started()
    assert first.state().order.startswith("pgs")
    second.done()
    second.wait_done()
    second.submit()  # the fence was for one job
    second.wait_started(2)
    second.done()


def test_explicit_jobs_do_not_wait_for_foreign_fences(drivers: Drivers) -> None:
    if not available("vgem"):
        pytest.skip("this kernel has no vgem")
    foreign = VgemBuffer()
    fence = foreign.attach(write=True)
    explicit, implicit = drivers(), drivers()
    for driver in (explicit, implicit):
        driver.get(foreign.fd, DMA_READ)
        driver.set_explicit(True)
    implicit.set_explicit(False)
    implicit.submit()
    explicit.submit()
    with fails(errno.EBUSY):
        explicit.set_explicit(False)
    explicit.wait_started()
    implicit.wait_granted()
    assert implicit.state().started == 0
    foreign.signal(fence)
    implicit.wait_started()
    for driver in (explicit, implicit):
        driver.done()
        driver.wait_done()
    foreign.close()


def test_explicit_jobs_wait_for_memory_that_moves(drivers: Drivers) -> None:
    if not available("vgem"):
        pytest.skip("this kernel has no vgem")
    foreign = VgemBuffer()
    fence = foreign.attach(write=True)
    moved, other = drivers(), drivers()
    with foreign.dmabuf.export_sync_file(Access.READ) as move:
        moved.add_move(move.fileno(), 0)
    moved.get_resv(0, DMA_READ)
    other.get(foreign.fd, DMA_READ)
    for driver in (moved, other):
        driver.set_explicit(True)
        driver.submit()
        driver.wait_granted()
    other.wait_started()
    assert moved.state().started == 0
    foreign.signal(fence)
    moved.wait_started()
    for driver in (moved, other):
        driver.done()
        driver.wait_done()
    foreign.close()


def test_explicit_jobs_wait_for_other_jobs(buf: int, drivers: Drivers) -> None:
    first, second = drivers(), drivers()
    for driver in (first, second):
        driver.get(buf, DMA_WRITE)
        driver.set_explicit(True)
        driver.submit()
        driver.wait_granted()
    first.wait_started()
    assert second.state().started == 0
    first.done()
    second.wait_started()
    second.done()


@pytest.mark.parametrize(
    ("devices", "granted"), [((0, 0), True), ((1, 1), True), ((1, 2), False), ((0, 1), False)]
)
def test_devices_with_a_view_of_their_own(
    buf: int, drivers: Drivers, devices: tuple[int, int], granted: bool
) -> None:
    """Another device's job is mapped only once the one before is unmapped."""
    first, second, last = drivers(), drivers(), drivers()
    for driver, device in zip((first, second), devices, strict=True):
        driver.get(buf, DMA_WRITE)
        driver.set_device(device)
        driver.submit()
    last.get(buf, DMA_READ)
    last.set_device(devices[1])
    last.submit()  # is granted behind the second, however that was
    first.wait_started()
    with fails(errno.EBUSY):
        first.set_device(0)
    if granted:
        second.wait_granted()
    else:
        assert len(waiting(buf)) == 2
    assert second.state().order == ("pg" if granted else "")
    first.done()
    for driver in (second, last):
        driver.wait_started()
        driver.done()
    assert first.state().order == "pgsf" or granted


def test_hardware_begins_later(buf: int, drivers: Drivers, set_parameter: SetParameter) -> None:
    """A job that is queued in its driver is not running, and has no watchdog."""
    set_parameter("job_timeout_ms", 1)
    driver = drivers(QUEUES)
    driver.get(buf, DMA_WRITE)
    job = Job(driver.job_file())
    driver.submit()
    driver.wait_started()
    assert job.info().state == JobState.GRANTED
    assert select.select([job], [], [], 0.1)[0] == []
    assert driver.state().stopped == 0
    driver.running()
    with fails(errno.ETIMEDOUT):
        job.wait(20)
    assert driver.state().order == "pgstf"
    set_parameter("job_timeout_ms", 10_000)
    driver.submit()
    driver.wait_started(2)
    driver.running()
    assert job.info().state == JobState.RUNNING
    driver.done()
    job.wait(20)
    job.close()


def test_running_is_for_drivers_that_queue(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, DMA_WRITE)
    driver.submit()
    driver.wait_started()
    with warns():
        driver.running()
    driver.done()
    driver.wait_done()
