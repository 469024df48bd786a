# SPDX-License-Identifier: MIT
"""GStreamer, unmodified: its camera source exports dma-bufs, and our engine works on them.

It maps a frame with DMA_BUF_IOCTL_SYNC, so it waits for the fences of our jobs, though it has never
heard of us.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign import Client
from vivid import vivid_pair

from dmabuf_sync import Blitter, DmaBuf, Rect

WIDTH, HEIGHT = 320, 180
FRAME = WIDTH * HEIGHT * 4
COLOR = 0x5A
PATIENCE = 20.0
PLUGINS = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/gstreamer-1.0")

pytestmark = pytest.mark.slow


class Frames(Client):
    """A pipeline that writes every frame of the camera to its standard output."""

    def __init__(self, capture: str, plugins: Path) -> None:
        caps = f"video/x-raw,format=BGRx,width={WIDTH},height={HEIGHT}"
        super().__init__(
            "gst-launch-1.0", "-q", "v4l2src", f"device={capture}", "io-mode=dmabuf", "!", caps,
            "!", "fdsink", "fd=1",
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GST_PLUGIN_SYSTEM_PATH_1_0": str(plugins)},
        )  # fmt: skip

    def next(self) -> bytes:
        """The next frame."""
        data = bytearray()
        deadline = time.monotonic() + PATIENCE
        while len(data) < FRAME:
            left = max(deadline - time.monotonic(), 0)
            assert select.select([self.pipe], [], [], left)[0], "GStreamer is stuck"
            part = os.read(self.pipe, FRAME - len(data))
            assert part, "GStreamer has ended"
            data += part
        return bytes(data)


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Only what is needed: to look through all of them takes an emulated CPU half a minute."""
    for name in ("coreelements", "video4linux2"):
        (tmp_path / f"libgst{name}.so").symlink_to(PLUGINS / f"libgst{name}.so")
    return tmp_path


@pytest.fixture
def gstreamer(plugins: Path) -> Iterator[Frames]:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("this guest has no GStreamer")
    made = Frames(vivid_pair()[0], plugins)
    yield made
    made.close()


@pytest.fixture
def late() -> Iterator[None]:
    """The engine writes nothing in the first second of a job."""
    path = Path("/sys/module/vblit/parameters/latency_us")
    path.write_text("1000000")
    yield
    path.write_text("0")


def test_it_waits_for_our_jobs(gstreamer: Frames, late: None) -> None:
    """It shows no more of the camera than was under way, then all that the engine has drawn."""
    gstreamer.next()
    with contextlib.ExitStack() as stack:
        buffers = [stack.enter_context(DmaBuf(fd)) for fd in gstreamer.take_buffers()]
        assert len(buffers) >= 2
        blitter = stack.enter_context(Blitter())
        rect = Rect(0, 0, WIDTH, HEIGHT, WIDTH * 4)
        jobs = [blitter.fill(buffer, COLOR * 0x01010101, rect) for buffer in buffers]
        drawn = bytes([COLOR]) * FRAME
        before = 0
        while gstreamer.next() != drawn:
            before += 1
        # One for each that it had mapped already or that was in the pipe.
        assert before <= len(buffers) + 2
        assert any(job.done for job in jobs)
        for job in jobs:
            job.wait(PATIENCE)
            job.close()
    for _ in range(2 * len(buffers)):
        last = gstreamer.next()
    assert last != drawn
