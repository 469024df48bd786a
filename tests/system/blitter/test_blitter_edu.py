# SPDX-License-Identifier: MIT
"""QEMU's PCI device edu behind the blitter's ABI: DMA that no CPU of the guest performs.

Each piece of up to 2 KiB takes it a tenth of a second, twice, so there is little of it here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from blits import PATIENCE, SIZE, apply, noise, read, write
from state import accesses

from dmabuf_sync import Access, Blit, Blitter, Copy, DmaBuf, Fill, JobFailed, Operation, Rect

Make = Callable[[int], list[DmaBuf]]
SetParameter = Callable[[str, int], None]


@pytest.fixture
def edu() -> Iterator[Blitter]:
    if not os.path.exists(Blitter.EDU):
        pytest.skip("this guest has no edu device")
    with Blitter(Blitter.EDU) as made:
        yield made


def interrupts() -> int:
    """How many the device has raised."""
    with open("/proc/interrupts") as file:
        lines = [line.split() for line in file if line.rstrip().endswith("vblit-edu")]
    return sum(int(word) for line in lines for word in line[1:] if word.isdigit())


@pytest.mark.coherency
def test_copy(edu: Blitter, pair: tuple[DmaBuf, DmaBuf]) -> None:
    """From a buffer of each exporter to one of ours, across pages, and back."""
    theirs, ours = pair
    data, expected = noise(70), noise(71)
    write(theirs, data)
    write(ours, expected)
    before = interrupts()
    edu.copy(theirs, ours, 5000, src_offset=4000, dst_offset=33).wait(PATIENCE)
    assert interrupts() >= before + 4
    expected[33:5033] = data[4000:9000]
    assert np.array_equal(read(ours), expected)
    edu.copy(ours, theirs, 100, dst_offset=4050).wait(PATIENCE)
    data[4050:4150] = expected[:100]
    assert np.array_equal(read(theirs), data)


@pytest.mark.coherency
@pytest.mark.parametrize(
    "operation",
    [
        lambda src: Fill(Rect(3, 1, 50, 3, pitch=307, bytes_per_pixel=3, offset=4000), 0x332211),
        lambda src: Blit(src, Rect(0, 0, 30, 3, pitch=301), Rect(2, 1, 30, 3, pitch=411)),
        lambda src: Blit(
            src, Rect(0, 0, 30, 9, pitch=301), Rect(2, 1, 47, 2, pitch=411), scale=True
        ),
        lambda src: Blit(
            src,
            Rect(0, 0, 30, 2, pitch=301),
            Rect(2, 1, 20, 2, pitch=411),
            scale=True,
            blend=True,
        ),
    ],
    ids=["fill", "blit", "scale", "blend"],
)
def test_operations(edu: Blitter, make: Make, operation: Callable[[DmaBuf], Operation]) -> None:
    src, dst = make(2)
    contents = {src.fileno(): noise(72), dst.fileno(): noise(73)}
    for buffer in (src, dst):
        write(buffer, contents[buffer.fileno()])
    edu.submit(dst, [operation(src)]).wait(PATIENCE)
    apply(operation(src), contents, dst.fileno())
    assert np.array_equal(read(dst), contents[dst.fileno()])


@pytest.mark.coherency
def test_both_devices_take_turns(edu: Blitter, blitter: Blitter, make: Make) -> None:
    """A job of one waits for the fence of the other."""
    a, b, c = make(3)
    data = noise(74)
    write(a, data)
    jobs = [
        edu.copy(a, b, 3000, wait=False),
        blitter.copy(b, c, 3000, wait=False),
        edu.copy(c, a, 3000, dst_offset=5000, wait=False),
    ]
    for job in jobs:
        job.wait(PATIENCE)
    expected = data.copy()
    expected[5000:8000] = data[:3000]
    assert np.array_equal(read(a), expected)


def test_cpu_lock_holds_the_job_back(edu: Blitter, dst: DmaBuf) -> None:
    dst.lock(Access.WRITE)
    job = edu.fill(dst, 1, Rect(0, 0, 8, 1, pitch=32), wait=False)
    assert [access.kind for access in accesses(dst.fileno())] == ["posix", "job"]
    dst.unlock()
    job.wait(PATIENCE)


def test_stopped_in_the_middle(
    edu: Blitter, dst: DmaBuf, set_parameter: SetParameter
) -> None:
    """The watchdog ends what takes too long; the device can be used at once."""
    set_parameter("job_timeout_ms", 500)
    with pytest.raises(JobFailed) as caught:
        edu.fill(dst, 1).wait(PATIENCE)
    assert caught.value.errno == errno.ETIMEDOUT
    set_parameter("job_timeout_ms", 10_000)
    edu.fill(dst, 0x02020202, Rect(0, 0, 8, 1, pitch=32)).wait(PATIENCE)
    assert (read(dst, 32) == 2).all()


@pytest.mark.slow
@pytest.mark.coherency
def test_whole_buffers(edu: Blitter, exporter: str) -> None:
    from buffers import allocate

    with contextlib.ExitStack() as stack:
        src, dst = (stack.enter_context(DmaBuf(allocate(exporter, SIZE))) for _ in range(2))
        write(src, noise(75))
        edu.submit(dst, [Copy(src, SIZE)]).wait(PATIENCE)
        assert np.array_equal(read(dst), noise(75))
