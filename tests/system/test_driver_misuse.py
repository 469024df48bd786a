# SPDX-License-Identifier: MIT
"""A driver that misuses the API: it is warned, nothing is held or leaked, and all goes on (C11)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from driver import DMA_WRITE, F_READ, F_WRITE, TO_DEVICE, WRITE, Driver, fails, warns
from locks import trylock, unlock
from state import accesses, waiting

from dmabuf_sync.job import Job, JobState

Drivers = Callable[..., Driver]


def _still_works(driver: Driver, fd: int) -> None:
    driver.put_all()
    driver.get(fd, DMA_WRITE)
    driver.trylock()
    driver.unlock()
    done = driver.state().started
    driver.submit()
    driver.wait_started(done + 1)
    driver.done()
    driver.wait_done()
    assert accesses(fd) == []


def test_unlock_twice(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, WRITE)
    driver.lock()
    driver.unlock()
    with warns(), fails(errno.EPERM):
        driver.unlock()
    _still_works(driver, buf)


def test_fini_while_locked(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, WRITE)
    driver.lock()
    with warns():
        driver.fini()
    assert driver.state().freed == 1
    trylock(buf, F_WRITE)


def test_done_before_start(buf: int, drivers: Drivers) -> None:
    first, driver = drivers(), drivers()
    driver.get(buf, DMA_WRITE)
    job = Job(driver.job_file())
    with warns():
        driver.done()  # nothing submitted
    trylock(buf, F_READ)
    driver.submit()
    with warns():
        driver.done()  # not granted
    assert waiting(buf) == [os.getpid()]
    driver.cancel()
    unlock(buf)

    first.get(buf, DMA_WRITE)
    first.submit()
    driver.submit()
    driver.wait_granted()
    with warns():
        driver.done()  # granted, but behind the fence of the first
    assert job.info().state == JobState.GRANTED
    first.wait_started()
    first.done()
    driver.wait_started()
    driver.done()
    driver.wait_done()
    assert job.status == 0
    assert driver.state().order == "pgsf"
    _still_works(driver, buf)
    job.close()


def test_waiting_for_what_was_never_submitted(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, DMA_WRITE)
    with warns(), fails(errno.EINVAL):
        driver.wait_granted()
    with warns():
        driver.wait_done()
    with fails(errno.EINVAL):
        driver.fence()
    _still_works(driver, buf)


def test_single_unlock_of_what_is_not_locked(buf: int, drivers: Drivers) -> None:
    driver = drivers(None)
    with warns(), fails(errno.EPERM):
        driver.single_unlock(buf)
    driver.start_dma(buf, TO_DEVICE)
    with warns(), fails(errno.EPERM):
        driver.single_unlock(buf)  # locked through the attachment
    with warns():
        driver.end_dma(2)
    assert accesses(buf) == []
