# SPDX-License-Identifier: MIT
"""Drivers that know nothing of us, from end to end: vivid, everybody's buffers, our engine."""

from __future__ import annotations

import mmap
import select
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from actors import Actor
from buffers import allocate, available
from locks import WRITE, trylock, unlock
from vivid import vivid_pair

from dmabuf_sync import Access, Blitter, Display, DisplayEventType, DmaBuf, Rect, Sync
from dmabuf_sync.demo.v4l2 import Camera, VideoDevice, VideoOutput

WIDTH, HEIGHT, RATE = 320, 180, 120
PITCH = WIDTH * 4
SIZE = -(-PITCH * HEIGHT // mmap.PAGESIZE) * mmap.PAGESIZE
PATIENCE = 20.0

pytestmark = pytest.mark.slow

Actors = Callable[[int], list[Actor]]


@pytest.fixture
def camera() -> Iterator[Camera]:
    """Films what has the same pixels in every row."""
    with Camera(vivid_pair()[0], WIDTH, HEIGHT, RATE) as made:
        made.set_control("OSD Text Mode", 2)
        made.set_control("Horizontal Movement", 6)
        yield made


@pytest.fixture
def monitor() -> Iterator[VideoOutput]:
    with VideoOutput(vivid_pair()[1], WIDTH, HEIGHT) as made:
        yield made


def finish(device: VideoDevice) -> int:
    """Wait until the device is done with a buffer; its index."""
    poller = select.poll()
    poller.register(device, select.POLLIN | select.POLLOUT)
    assert poller.poll(PATIENCE * 1000), "the device does nothing"
    return device.dequeue().index


def crc_of_frame(display: Display, number: int) -> int:
    while True:
        events = display.events(PATIENCE)
        assert events, "the display does nothing"
        for event in events:
            if event.type is DisplayEventType.FRAME and event.user_data == number:
                return event.crc


@pytest.mark.parametrize("exporter", ["vdmabuf", "heap", "udmabuf", "vgem"])
def test_camera_blitter_display(camera: Camera, exporter: str) -> None:
    """vivid imports and fills a buffer, the engine copies it, the display shows the copy."""
    if not available(exporter):
        pytest.skip(f"this kernel has no {exporter}")
    rect = Rect(0, 0, WIDTH, HEIGHT, PITCH)
    shown = set()
    with (
        DmaBuf(allocate(exporter, SIZE)) as frame,
        DmaBuf(allocate(exporter, SIZE)) as copy,
        Sync("camera") as at_camera,
        Blitter() as blitter,
        Display() as display,
    ):
        at_camera.add(frame, Access.WRITE | Access.DMA)
        camera.request_buffers(2)
        with camera.streaming():
            for number in range(3):
                with at_camera.locked(timeout=PATIENCE):
                    camera.queue(0, frame.fileno(), frame.size)
                    finish(camera)
                with blitter.blit(frame, copy, rect, wait=False):
                    display.flip(copy, user_data=number, period_us=5000)  # waits for the job
                crc = crc_of_frame(display, number)
                with copy.locked(Access.READ, timeout=PATIENCE), copy.map() as memory:
                    assert zlib.crc32(memory) == crc
                    rows = np.frombuffer(memory, np.uint32, WIDTH * HEIGHT)
                    rows = rows.reshape(HEIGHT, WIDTH).copy()
                assert (rows == rows[0]).all()
                assert len(np.unique(rows[0])) > 3
                shown.add(crc)
                display.flip(None)
                assert select.select([], [display], [], PATIENCE)[1]
        camera.request_buffers(0)
    assert len(shown) == 3


def test_output_shows_what_is_locked(monitor: VideoOutput, actors: Actors) -> None:
    """vivid's output reads our buffers: locked from queuing to dequeuing."""
    with DmaBuf(allocate("vdmabuf", SIZE)) as one, DmaBuf(allocate("vdmabuf", SIZE)) as two:
        buffers = (one, two)
        (painter,) = actors(1)
        syncs = (Sync("one"), Sync("two"))
        monitor.request_buffers(2)
        for sync, buffer in zip(syncs, buffers, strict=True):
            sync.add(buffer, Access.READ | Access.DMA)
        for index in range(2):
            syncs[index].lock(timeout=PATIENCE)
            monitor.queue(index, buffers[index].fileno(), SIZE)
        with monitor.streaming():
            for _ in range(5):
                index = finish(monitor)
                fd = buffers[index].fileno()
                with pytest.raises(BlockingIOError):
                    painter.call(trylock, fd, WRITE)
                syncs[index].unlock()
                painter.call(trylock, fd, WRITE)
                painter.call(unlock, fd)
                syncs[index].lock(timeout=PATIENCE)
                monitor.queue(index, fd, SIZE)
        for sync in syncs:
            sync.close()
        monitor.request_buffers(0)
