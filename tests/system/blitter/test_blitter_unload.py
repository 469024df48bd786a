# SPDX-License-Identifier: MIT
"""vblit.ko stays as long as it is used, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from actors import until
from blits import PATIENCE, SOFT, Device, read
from locks import WRITE, lock, unlock
from reload import insmod, rmmod

from dmabuf_sync import Blitter

SetParameter = Callable[[str, int], None]


@pytest.fixture(autouse=True)
def _loaded_again() -> Iterator[None]:
    yield
    if not os.path.exists("/sys/module/vblit"):
        assert insmod() == ""


def test_unload_and_load(device: Device, buf: int) -> None:
    assert rmmod() == ""
    assert not os.path.exists(device.path)
    assert insmod() == ""
    with Blitter(device.path) as blitter:
        assert "in use" in rmmod()
        blitter.fill(buf, 0x11111111).wait(PATIENCE)
    until(lambda: not rmmod(), "unloading")
    assert insmod() == ""


def test_running_job_outlives_the_file(
    device: Device, buf: int, set_vblit: SetParameter
) -> None:
    set_vblit("bytes_per_second", device.size // 8)
    with Blitter(device.path) as blitter:
        job = blitter.fill(buf, 0x22222222)
    assert "in use" in rmmod()
    assert not job.done
    set_vblit("bytes_per_second", 0)
    job.wait(PATIENCE)
    until(lambda: not rmmod(), "unloading")
    # The job and its fence can still be asked.
    assert job.status == 0
    with job.sync_file() as sync_file:
        assert sync_file.info().status == 1
    assert (read(buf) == 0x22).all()
    assert insmod() == ""


def test_job_that_was_taken_back_is_no_use(device: Device, buf: int) -> None:
    lock(buf, WRITE)
    with Blitter(device.path) as blitter:
        job = blitter.fill(buf, 1, wait=False)
        assert "in use" in rmmod()
    until(lambda: not rmmod(), "unloading")
    assert job.done
    unlock(buf)


def test_unload_as_soon_as_jobs_end(
    device: Device, bufs: Callable[[int], list[int]]
) -> None:
    """rmmod right behind the last callback."""
    buffers = bufs(4)
    for _ in range(3):
        with Blitter(device.path) as blitter:
            for fd in buffers * (4 if device is SOFT else 1):
                blitter.fill(fd, 1, wait=False).close()
        until(lambda: not rmmod(), "unloading")
        assert insmod() == ""


def test_load_with_bad_parameters() -> None:
    assert rmmod() == ""
    for parameter in ("fault=5", "fault=-1", "bytes_per_second=-1", "engines=0", "engines=17"):
        assert "Invalid" in insmod(parameter), parameter
        assert not os.path.exists("/sys/module/vblit")
        assert not os.path.exists("/dev/vblit")
