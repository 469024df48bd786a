# SPDX-License-Identifier: MIT
"""What only QEMU's PCI device edu does: DMA that no CPU of the guest performs, and its interrupts.

All other tests of the blitter run on it, too: see `device` in conftest.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from actors import Actor, until
from blits import EDU, PATIENCE, SOFT, apply, noise, read, write
from buffers import allocate
from stalled_memory import available as stalling
from stalled_memory import stalled_address

from dmabuf_sync import Access, Blit, Blitter, DmaBuf, JobFailed, JobState, Rect
from dmabuf_sync._uapi import ffi, lib

Actors = Callable[[int], list[Actor]]
Make = Callable[[int], list[DmaBuf]]
SetParameter = Callable[[str, int], None]

DRIVER = "/sys/bus/pci/drivers/vblit-edu"

pytestmark = pytest.mark.parametrize("device", [EDU], indirect=True, ids=[EDU.name])


@pytest.fixture
def soft(blitter: Blitter) -> Iterator[Blitter]:
    """The other device, beside `blitter`."""
    with Blitter(SOFT.path) as made:
        yield made


def interrupts() -> int:
    """How many the device has raised."""
    with open("/proc/interrupts") as file:
        lines = [line.split() for line in file if line.rstrip().endswith(EDU.name)]
    return sum(int(word) for line in lines for word in line[1:] if word.isdigit())


@pytest.mark.usefixtures("device")
def test_reaches_all_memory() -> None:
    """So it is the device itself that reads and writes our buffers, and no copy of them."""
    (address,) = (name for name in os.listdir(DRIVER) if ":" in name)
    with open(f"{DRIVER}/{address}/dma_mask_bits") as file:
        mask_bits = int(file.read())
    with open("/proc/iomem") as file:
        ends = [int(line.split()[0].split("-")[1], 16) for line in file if "System RAM" in line]
    assert max(ends) < 1 << mask_bits


def test_each_transfer_is_an_interrupt(blitter: Blitter, make: Make) -> None:
    """2 KiB at once, into the device and out of it."""
    src, dst = make(2)
    before = interrupts()
    blitter.copy(src, dst, 5000).wait(PATIENCE)
    assert before + 6 <= interrupts() <= before + 8  # two more if a piece crosses a segment


@pytest.mark.coherency
def test_scale_and_blend(blitter: Blitter, make: Make) -> None:
    """What is calculated is in the driver's memory, which the device reads and writes too."""
    src, dst = make(2)
    contents = {src.fileno(): noise(72, EDU.size), dst.fileno(): noise(73, EDU.size)}
    for buffer in (src, dst):
        write(buffer, contents[buffer.fileno()])
    source, target = Rect(0, 0, 30, 2, pitch=301), Rect(2, 1, 20, 2, pitch=411)
    blit = Blit(src, source, target, scale=True, blend=True)
    blitter.submit(dst, [blit]).wait(PATIENCE)
    apply(blit, contents, dst.fileno())
    assert np.array_equal(read(dst), contents[dst.fileno()])


@pytest.mark.coherency
def test_both_devices_take_turns(blitter: Blitter, soft: Blitter, make: Make) -> None:
    """A job of one waits for the fence of the other."""
    a, b, c = make(3)
    data = noise(74, EDU.size)
    write(a, data)
    jobs = [
        blitter.copy(a, b, 3000, wait=False),
        soft.copy(b, c, 3000, wait=False),
        blitter.copy(c, a, 3000, dst_offset=5000, wait=False),
    ]
    for job in jobs:
        job.wait(PATIENCE)
    expected = data.copy()
    expected[5000:8000] = data[:3000]
    assert np.array_equal(read(a), expected)


def test_stopped_in_the_middle(blitter: Blitter, dst: DmaBuf, set_parameter: SetParameter) -> None:
    """The watchdog ends what takes too long; the device can be used at once."""
    set_parameter("job_timeout_ms", 300)
    with pytest.raises(JobFailed) as caught:
        blitter.fill(dst, 1).wait(PATIENCE)
    assert caught.value.errno == errno.ETIMEDOUT
    set_parameter("job_timeout_ms", 10_000)
    blitter.fill(dst, 0x02020202, Rect(0, 0, 8, 1, pitch=32)).wait(PATIENCE)
    assert (read(dst, 32) == 2).all()


def _bind(address: str, how: str) -> None:
    with open(f"{DRIVER}/{how}", "w") as file:
        file.write(address)


@pytest.fixture
def bind() -> Iterator[Callable[[str], None]]:
    """bind("unbind"), bind("bind"): by hand, as for any PCI device."""
    (address,) = (name for name in os.listdir(DRIVER) if ":" in name)
    yield partial(_bind, address)
    if not os.path.exists(EDU.path):
        _bind(address, "bind")


def test_device_goes_while_it_is_used(
    blitter: Blitter, make: Make, bind: Callable[[str], None]
) -> None:
    """What runs ends, what is granted fails, what waits is cancelled; and it can come back."""
    busy, next_, held = make(3)
    held.lock(Access.WRITE)
    running = blitter.fill(busy, 0x01010101)
    until(lambda: running.info().state is JobState.RUNNING, "a job to begin")
    granted = blitter.fill(next_, 0x01010101)
    waiting = blitter.fill(held, 0x01010101, wait=False)
    bind("unbind")
    assert not os.path.exists(EDU.path)
    assert [job.status for job in (running, granted, waiting)] == [
        0,
        -errno.ENODEV,
        -errno.ECANCELED,
    ]
    with pytest.raises(OSError, match=rf"\[Errno {errno.ENODEV}\]"):
        blitter.fill(busy, 1)
    held.unlock()
    assert (read(busy) == 1).all()
    assert not read(next_).any()
    bind("bind")
    with Blitter(EDU.path) as again, pytest.raises(OSError, match=rf"\[Errno {errno.ENODEV}\]"):
        again.fill(busy, 0x02020202, Rect(0, 0, 8, 1, pitch=32)).wait(PATIENCE)
        blitter.fill(busy, 1)
    assert (read(busy, 32) == 2).all()


def _submit_what_never_comes(fd: int) -> None:
    submit = ffi.new("struct vblit_submit *")
    submit.ops, submit.num_ops, submit.dst_fd = stalled_address(), 1, fd
    with open(EDU.path, "rb+", buffering=0) as device:
        fcntl.ioctl(device, lib.VBLIT_IOC_SUBMIT, bytearray(ffi.buffer(submit)))


@pytest.mark.skipif(not stalling(), reason="a kernel without userfaultfd")
def test_device_goes_while_user_space_keeps_a_call_waiting(
    dst: DmaBuf, bind: Callable[[str], None], actors: Actors
) -> None:
    """And who made the call can be killed."""
    stalled, remover = actors(2)
    stalled.start(_submit_what_never_comes, dst.fileno())
    wchan = Path(f"/proc/{stalled.pid}/wchan")
    until(lambda: wchan.read_text() == "handle_userfault", "a fault that nobody answers")
    remover.call(bind, "unbind")
    assert not os.path.exists(EDU.path)
    assert stalled.running()
    stalled.kill()
    bind("bind")


@pytest.mark.slow
@pytest.mark.coherency
def test_whole_buffers(blitter: Blitter, exporter: str) -> None:
    """64 KiB."""
    data = noise(75, SOFT.size)
    with (
        DmaBuf(allocate(exporter, SOFT.size)) as src,
        DmaBuf(allocate(exporter, SOFT.size)) as dst,
    ):
        write(src, data)
        blitter.copy(src, dst, SOFT.size).wait(PATIENCE)
        assert np.array_equal(read(dst, SOFT.size), data)
