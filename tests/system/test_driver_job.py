# SPDX-License-Identifier: MIT
"""The driver API, function by function: DMA jobs (C11)."""

from __future__ import annotations

import errno
import select
import signal
from collections.abc import Callable

import pytest
from actors import Actor, until
from driver import (
    BAD_PREPARE,
    DMA_READ,
    DMA_WRITE,
    F_READ,
    F_WRITE,
    NO_OPS,
    NO_STOP,
    QUICK,
    READ,
    SLOW_START,
    Driver,
    fails,
    slow,
)
from locks import lock, trylock, unlock
from state import accesses, until_waiting, waiting

from dmabuf_sync import SyncFile
from dmabuf_sync.job import Job, JobState

Actors = Callable[[int], list[Actor]]
Buffers = Callable[[int], list[int]]
Drivers = Callable[..., Driver]
SetParameter = Callable[[str, int], None]

pytestmark = pytest.mark.usefixtures("_driver_module")


_kept: list[Driver] = []


def test_job_from_submit_to_free(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, DMA_WRITE)
    job = Job(driver.job_file())
    trylock(buf, F_READ)
    driver.submit()
    assert job.info().state == JobState.QUEUED
    with pytest.raises(BlockingIOError):
        driver.fence()
    with pytest.raises(BlockingIOError):
        job.sync_file()
    assert driver.state().order == ""
    for call in (driver.submit, driver.lock, driver.unlock, driver.put_all):
        with fails(errno.EBUSY):
            call()
    unlock(buf)
    driver.wait_granted()
    driver.wait_started()
    assert driver.state().order == "pgs"
    assert job.info().state == JobState.RUNNING
    assert select.select([buf], [], [], 0)[0] == []  # a write fence
    fence = SyncFile(driver.fence())
    assert select.select([fence], [], [], 0)[0] == []
    with pytest.raises(BlockingIOError):
        trylock(buf, F_READ)
    driver.done()
    driver.wait_done()
    assert select.select([fence, buf], [], [], 0)[0] == [fence, buf]
    job.wait(20)
    assert driver.state().order == "pgsf"
    driver.submit()  # once more
    driver.wait_started(2)
    driver.fini()  # it goes on
    assert driver.state().freed == 0
    assert job.info().state == JobState.RUNNING
    fence.close()
    job.close()
    driver.close()
    until(lambda: not accesses(buf), "end of a job whose driver is gone")


@pytest.mark.parametrize("how", ["process", "softirq", "start", "watchdog"])
def test_end_of_a_job(buf: int, drivers: Drivers, set_parameter: SetParameter, how: str) -> None:
    driver = drivers(QUICK if how == "start" else 0)
    driver.get(buf, DMA_WRITE)
    job = Job(driver.job_file())
    if how == "watchdog":
        set_parameter("job_timeout_ms", 30)
    driver.submit()
    driver.wait_granted()
    fence = SyncFile(driver.fence())
    error = {"process": -errno.EIO, "softirq": -errno.ENODATA, "watchdog": -errno.ETIMEDOUT}
    if how == "process":
        driver.wait_started()
        driver.done(-errno.EIO)
        driver.done(0)  # too late to change it
    elif how == "softirq":
        driver.wait_started()
        driver.done_in_softirq(-errno.ENODATA)
    driver.wait_done()
    state = driver.state()
    assert state.order == ("pgstf" if how == "watchdog" else "pgsf")
    assert job.status == error.get(how, 0)
    assert fence.info().status == (error.get(how, 0) or 1)
    assert accesses(buf) == []
    driver.done()  # of a job that is over: too late
    fence.close()
    job.close()
    driver.fini()
    driver.flush()
    until(lambda: driver.state().freed == 1, "freeing")


def test_watchdog_does_not_stop_what_has_not_begun(
    buf: int, drivers: Drivers, set_parameter: SetParameter
) -> None:
    """start() takes longer than the watchdog waits."""
    driver = drivers(SLOW_START)
    driver.get(buf, DMA_WRITE)
    set_parameter("job_timeout_ms", 1)
    driver.submit()
    driver.wait_done()
    assert driver.state().order == "pgstf"


def test_prepare_fails_at_once(buf: int, drivers: Drivers) -> None:
    driver = drivers(BAD_PREPARE)
    driver.get(buf, DMA_WRITE)
    with fails(errno.ENOSPC):
        driver.submit()
    assert driver.state().order == "p"
    assert accesses(buf) == []
    assert select.select([buf], [], [], 0)[0] == [buf]  # no fence
    with fails(errno.ENOSPC):
        driver.fence()


def test_prepare_fails_after_waiting(buf: int, drivers: Drivers) -> None:
    driver = drivers(BAD_PREPARE)
    driver.get(buf, DMA_WRITE)
    job = Job(driver.job_file())
    trylock(buf, F_WRITE)
    driver.submit()
    unlock(buf)
    driver.wait_done()
    assert driver.state().order == "pg"
    assert driver.state().grant_error == -errno.ENOSPC
    with fails(errno.ENOSPC):
        driver.wait_granted()
    with fails(errno.ENOSPC):
        driver.fence()
    with fails(errno.ENOSPC):
        job.sync_file()
    assert job.status == -errno.ENOSPC
    assert accesses(buf) == []
    job.close()


def test_cancel(buf: int, drivers: Drivers) -> None:
    driver = drivers()
    driver.get(buf, DMA_READ)
    with fails(errno.EBUSY):
        driver.cancel()  # nothing there
    trylock(buf, F_WRITE)
    driver.submit()
    driver.cancel()
    assert waiting(buf) == []
    assert driver.state().order == ""
    with fails(errno.ECANCELED):
        driver.wait_granted()
    unlock(buf)
    driver.submit()
    with fails(errno.EBUSY):
        driver.cancel()  # granted
    driver.wait_started()
    driver.done()
    driver.wait_done()
    driver.fini()
    assert driver.state().order == "pgsfF"


def test_cancelled_job_lets_those_behind_it_pass(
    buf: int, drivers: Drivers, actors: Actors
) -> None:
    (late,) = actors(1)
    driver = drivers()
    driver.get(buf, DMA_WRITE)
    trylock(buf, F_READ)
    driver.submit()
    late.start(lock, buf, F_READ)
    until_waiting(late, buf)
    driver.cancel()
    late.result()


WAITS = ["wait_granted", "wait_granted_killable"]


@pytest.mark.parametrize("wait", WAITS)
def test_waiting_for_a_grant_that_comes(buf: int, actors: Actors, wait: str) -> None:
    (other,) = actors(1)
    trylock(buf, F_WRITE)
    other.call(_submit, buf)
    other.start(_wait, wait)
    assert other.running()
    unlock(buf)
    other.result()
    other.kill()


@pytest.mark.parametrize("wait", WAITS)
def test_waiting_for_a_grant_can_be_interrupted(buf: int, actors: Actors, wait: str) -> None:
    (other,) = actors(1)
    trylock(buf, F_WRITE)
    other.call(_submit, buf)
    other.start(_wait, wait)
    other.kill()
    until(lambda: not waiting(buf), "cancelling by the last close")


def _submit(fd: int) -> None:
    driver = Driver()
    _kept.append(driver)
    driver.get(fd, DMA_WRITE)
    driver.submit()


def _wait(name: str) -> None:
    getattr(_kept[-1], name)()


@pytest.mark.parametrize("where", ["in the process", "in the background"])
def test_killed_while_its_job_is_prepared(buf: int, actors: Actors, where: str) -> None:
    """It is past taking back: it is published, started and ended, and the next is served."""
    doomed, following = actors(2)
    with slow("prepare"):
        if where == "in the process":
            doomed.start(_submit, buf)
        else:
            trylock(buf, F_WRITE)
            doomed.call(_submit, buf)
            unlock(buf)
        until(lambda: [access.state for access in accesses(buf)] == ["granting"], "preparing")
        following.start(lock, buf, F_READ)
        until_waiting(following, buf)
        doomed.send_signal(signal.SIGKILL)
        if where == "in the background":
            doomed.kill()
        assert following.running()
    doomed.kill()
    following.result()
    following.call(unlock, buf)
    until(lambda: not accesses(buf), "giving the buffer back")


@pytest.mark.parametrize(
    ("flags", "access"), [(NO_OPS, DMA_READ), (NO_STOP, DMA_READ), (0, READ), (0, None)]
)
def test_what_cannot_be_submitted(
    bufs: Buffers, drivers: Drivers, flags: int, access: int | None
) -> None:
    a, b = bufs(2)
    driver = drivers(flags)
    if access is not None:
        driver.get(a, DMA_WRITE)
        driver.get(b, access)
    with fails(errno.EINVAL):
        driver.submit()
    assert driver.state().order == ""
    if access is not None:
        driver.lock()
        driver.unlock()
