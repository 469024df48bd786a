# SPDX-License-Identifier: MIT
"""Every allocation of every call of the exporter, the blitter and the display fails once."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Any

import pytest
from exhaustion import SIZE, Case, Make, Stack, closes, exhaust
from injector import Injector
from locks import WRITE, trylock, unlock

from dmabuf_sync import Access, Blitter, Copy, Display, DmaBuf, Exporter, Job, Rect

FLAGS = os.O_RDWR | os.O_CLOEXEC


def opening(name: str) -> Make:
    return lambda stack, fds: Case(lambda: os.open(f"/dev/{name}", FLAGS), os.close)


def asking(make: Callable[[], Any]) -> Make:
    return lambda stack, fds: Case(stack.enter_context(make()).info)


# The exporter


def allocating(flags: dict[str, bool]) -> Make:
    def case(stack: Stack, fds: list[int]) -> Case:
        exporter = stack.enter_context(Exporter())
        return Case(lambda: exporter.allocate(SIZE, name="nth", **flags), closes)

    return case


def from_memfd(stack: Stack, fds: list[int]) -> Case:
    exporter = stack.enter_context(Exporter())
    memfd = os.memfd_create("nth", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    stack.callback(os.close, memfd)
    os.ftruncate(memfd, SIZE)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return Case(lambda: exporter.from_memfd(memfd, 0, SIZE), closes)


def mapping(flags: dict[str, bool]) -> Make:
    """The memory comes with the first mapping."""

    def case(stack: Stack, fds: list[int]) -> Case:
        exporter = stack.enter_context(Exporter())
        fresh: list[DmaBuf] = []

        def allocate() -> None:
            while fresh:
                fresh.pop().close()
            fresh.append(exporter.allocate(SIZE, **flags))

        stack.callback(lambda: fresh[0].close())

        def call() -> None:
            mmap.mmap(fresh[0].fileno(), SIZE).close()

        return Case(call, before=allocate)

    return case


def mapping_strictly(stack: Stack, fds: list[int]) -> Case:
    """Touched under a lock, and given back."""
    exporter = stack.enter_context(Exporter())
    buffer = stack.enter_context(exporter.allocate(SIZE, strict=True))
    mapped = stack.enter_context(buffer.map())

    def call() -> None:
        with buffer.locked(Access.WRITE), memoryview(mapped) as view:
            view[0] = 1

    def unlocked() -> None:
        with contextlib.suppress(OSError):
            buffer.unlock()

    return Case(call, before=unlocked)


def cpu_access(stack: Stack, fds: list[int]) -> Case:
    """DMA_BUF_IOCTL_SYNC."""
    buffer = stack.enter_context(DmaBuf(os.dup(fds[0])))

    def call() -> None:
        with buffer.cpu_access(Access.WRITE):
            pass

    return Case(call)


# The blitter


def finish(job: Job) -> None:
    job.wait(30)
    job.close()


def fill(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    return Case(lambda: blitter.fill(fds[0], 1), finish)


def copy_behind_a_lock(stack: Stack, fds: list[int]) -> Case:
    """Waits in the queue, and is granted from a worker."""
    blitter = stack.enter_context(Blitter())
    stack.callback(unlock, fds[0])

    def run(job: Job) -> None:
        unlock(fds[0])
        finish(job)

    return Case(
        lambda: blitter.copy(fds[0], fds[1], wait=False),
        run,
        before=lambda: trylock(fds[0], WRITE),
    )


def fill_with_in_fence(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    first = stack.enter_context(blitter.fill(fds[1], 1))
    fence = stack.enter_context(first.sync_file())

    def call() -> Job:
        return blitter.submit(fds[0], [Copy(fds[2], SIZE)], in_fences=[fence], wait=False)

    return Case(call, finish)


def job_sync_file(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    job = stack.enter_context(blitter.fill(fds[0], 1))
    job.wait(30)
    return Case(job.sync_file, closes)


def job_info(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    job = stack.enter_context(blitter.fill(fds[0], 1))
    job.wait(30)
    return Case(job.info)


def copy_explicitly(stack: Stack, fds: list[int]) -> Case:
    blitter = stack.enter_context(Blitter())
    return Case(
        lambda: blitter.submit(fds[0], [Copy(fds[1], SIZE)], implicit=False, wait=False), finish
    )


def scale(stack: Stack, fds: list[int]) -> Case:
    """Two buffers and many rows."""
    blitter = stack.enter_context(Blitter())
    small, large = Rect(0, 0, 8, 8, 64), Rect(0, 0, 16, 16, 64)
    return Case(lambda: blitter.blit(fds[1], fds[0], small, large, scale=True), finish)


def taken_back(stack: Stack, fds: list[int]) -> Case:
    """Closing the blitter takes back a job that waits for a lock."""
    trylock(fds[0], WRITE)
    stack.callback(unlock, fds[0])

    def call() -> None:
        with Blitter() as blitter:
            blitter.fill(fds[0], 1, wait=False).close()

    return Case(call)


# The display


def flip(stack: Stack, fds: list[int]) -> Case:
    """The first buffer of a display, and what is shown when it is closed."""

    def call() -> Display:
        display = Display()
        try:
            display.flip(fds[0])
        except OSError:
            display.close()
            raise
        return display

    return Case(call, closes)


def flip_to_nothing(stack: Stack, fds: list[int]) -> Case:
    display = stack.enter_context(Display())
    return Case(lambda: display.flip(None))


def read_events(stack: Stack, fds: list[int]) -> Case:
    display = stack.enter_context(Display())
    display.flip(fds[0], period_us=1000)
    return Case(lambda: display.events(5))


CASES: dict[str, Make] = {
    **{f"open_{name}": opening(name) for name in ("vdmabuf", "vblit", "vdisplay")},
    "allocate": allocating({}),
    "allocate_coherent": allocating({"coherent": True}),
    "allocate_strict": allocating({"strict": True}),
    "from_memfd": from_memfd,
    "map": mapping({}),
    "map_coherent": mapping({"coherent": True}),
    "map_strictly": mapping_strictly,
    "fill": fill,
    "copy_behind_a_lock": copy_behind_a_lock,
    "copy_explicitly": copy_explicitly,
    "fill_with_in_fence": fill_with_in_fence,
    "scale": scale,
    "taken_back": taken_back,
    "job_sync_file": job_sync_file,
    "flip": flip,
}
# These need not allocate anything.
FRUGAL: dict[str, Make] = {
    "exporter_info": asking(Exporter),
    "cpu_access": cpu_access,
    "blitter_info": asking(Blitter),
    "job_info": job_info,
    "flip_to_nothing": flip_to_nothing,
    "read_events": read_events,
}


@pytest.mark.parametrize("name", CASES)
def test_devices(inject: Injector, fds: list[int], name: str) -> None:
    assert exhaust(inject, CASES[name], fds) > 0


@pytest.mark.parametrize("name", FRUGAL)
def test_frugal_calls(inject: Injector, fds: list[int], name: str) -> None:
    exhaust(inject, FRUGAL[name], fds)
