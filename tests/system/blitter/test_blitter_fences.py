# SPDX-License-Identifier: MIT
"""Explicit synchronisation: in-fences, out-fences, and jobs that ignore implicit fences."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from actors import until
from blits import PATIENCE, Device, noise, on_both, read, submit, write
from buffers import BOUNCING, available
from state import accesses
from vgem import VgemBuffer

from dmabuf_sync import Access, Blitter, Copy, DmaBuf, Fill, JobState, Rect
from dmabuf_sync._uapi import ffi, lib

Make = Callable[[int], list[DmaBuf]]
SetParameter = Callable[[str, int], None]

ROW = Rect(0, 0, 256, 1, pitch=1024)


@pytest.fixture
def vgem(device: Device) -> Iterator[VgemBuffer]:
    """A buffer of a foreign driver, which puts fences on it at will."""
    if not available("vgem"):
        pytest.skip("this kernel has no vgem")
    buffer = VgemBuffer(device.size)
    yield buffer
    buffer.close()


@on_both
def test_job_waits_for_its_in_fences(
    device: Device,
    blitter: Blitter,
    dst: DmaBuf,
    vgem: VgemBuffer,
    make: Make,
    set_vblit: SetParameter,
) -> None:
    """A foreign one and a job's; it is granted before."""
    set_vblit("bytes_per_second", 4 * device.size)
    (other,) = make(1)
    fence = vgem.attach(write=True)
    slow = blitter.fill(other, 1)
    with vgem.dmabuf.export_sync_file(Access.READ) as foreign, slow.sync_file() as ours:
        job = blitter.submit(dst, [Fill(ROW, 0x01010101)], in_fences=[foreign, ours, ours])
    assert job.granted
    slow.wait(PATIENCE)
    assert job.info().state is JobState.GRANTED
    assert job.sync_file().info().status == 0
    vgem.signal(fence)
    job.wait(PATIENCE)
    assert job.info().started_ns > slow.info().started_ns
    assert (read(dst, 1024) == 1).all()


@on_both
def test_implicit_fences_are_ignored(blitter: Blitter, vgem: VgemBuffer) -> None:
    """Of others: the implicit job waits for one, the explicit one does not."""
    fence = vgem.attach(write=True)
    explicit = blitter.submit(vgem.fd, [Fill(ROW, 0x02020202)], implicit=False)
    explicit.wait(PATIENCE)
    implicit = blitter.submit(vgem.fd, [Fill(ROW, 0x03030303)])
    assert implicit.info().state is JobState.GRANTED
    vgem.signal(fence)
    implicit.wait(PATIENCE)
    # vgem does not keep a copy in step.
    assert BOUNCING or (read(vgem.dmabuf, 1024) == 3).all()


def test_explicit_job_is_a_fence(
    blitter: Blitter, vgem: VgemBuffer, set_vblit: SetParameter
) -> None:
    set_vblit("bytes_per_second", 1024)
    job = blitter.submit(vgem.fd, [Fill(ROW, 0x04040404)], implicit=False)
    with pytest.raises(OSError, match=rf"\[Errno {errno.EBUSY}\]"):
        vgem.attach(write=False)
    set_vblit("bytes_per_second", 0)
    job.wait(PATIENCE)
    vgem.signal(vgem.attach(write=True))


def test_explicit_job_waits_for_the_cpu(blitter: Blitter, dst: DmaBuf) -> None:
    dst.lock(Access.WRITE)
    job = blitter.submit(dst, [Fill(ROW, 5)], implicit=False, wait=False)
    assert not job.granted
    assert [access.kind for access in accesses(dst.fileno())] == ["posix", "job"]
    dst.unlock()
    job.wait(PATIENCE)


def test_explicit_jobs_wait_for_jobs(
    device: Device, blitter: Blitter, make: Make, set_vblit: SetParameter
) -> None:
    """Without a single in-fence a chain of them does the right thing."""
    buffers = make(5)
    data = noise(60, device.size)
    write(buffers[0], data)
    set_vblit("bytes_per_second", 40 * device.size)
    for a, b in itertools.pairwise(buffers):
        job = blitter.submit(b, [Copy(a, device.size)], implicit=False, wait=False)
    job.wait(PATIENCE)
    assert np.array_equal(read(buffers[-1]), data)


def test_in_fence_that_has_failed(
    blitter: Blitter, make: Make, set_vblit: SetParameter
) -> None:
    """Counts as over."""
    one, two = make(2)
    set_vblit("fault", 2)
    failed = blitter.fill(one, 1)
    until(lambda: failed.done, "a job to fail")
    set_vblit("fault", 0)
    with failed.sync_file() as fence:
        blitter.submit(two, [Fill(ROW, 1)], in_fences=[fence]).wait(PATIENCE)


def test_job_with_in_fences_that_is_taken_back(
    device: Device, dst: DmaBuf, vgem: VgemBuffer
) -> None:
    fence = vgem.attach(write=True)
    dst.lock(Access.WRITE)
    with Blitter(device.path) as blitter, vgem.dmabuf.export_sync_file(Access.READ) as foreign:
        job = blitter.submit(dst, [Fill(ROW, 1)], in_fences=[foreign], wait=False)
    until(lambda: job.done, "taking a job back")
    assert job.status == -errno.ECANCELED
    dst.unlock()
    vgem.signal(fence)


def test_bad_fences(blitter: Blitter, buf: int) -> None:
    fill = {
        "op": lib.VBLIT_OP_FILL,
        "dst__pitch": 64,
        "dst__bytes_per_pixel": 4,
        "dst__width": 16,
        "dst__height": 8,
    }
    job = blitter.fill(buf, 1, ROW)
    with job.sync_file() as fence:
        most = lib.VBLIT_MAX_IN_FENCES

        def with_fences(fds: list[int], **fields: int) -> int:
            array = ffi.new("int32_t[]", fds)
            values = {
                "in_fences": int(ffi.cast("uintptr_t", array)),
                "num_in_fences": len(fds),
                **fields,
            }
            return submit(blitter, [fill], dst_fd=buf, **values)

        good = fence.fileno()
        assert with_fences([good] * most) == 0
        assert with_fences([good] * (most + 1)) == errno.EMSGSIZE
        assert with_fences([good], num_in_fences=0xFFFFFFFF) == errno.EMSGSIZE
        for bad in (-1, 999999, buf, blitter.fileno(), job.fileno()):
            assert with_fences([good, bad]) == errno.EINVAL
        for address in (0, 8, (1 << 64) - 4):
            assert with_fences([good], in_fences=address) == errno.EFAULT
        assert with_fences([good], pad=1) == errno.EINVAL
    until(lambda: not accesses(buf), "giving back the buffer")
    os.fstat(buf)
