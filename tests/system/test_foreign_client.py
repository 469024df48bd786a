# SPDX-License-Identifier: MIT
"""v4l2-ctl, unmodified: it streams from vivid to vivid by dma-buf, and we lock its buffers.

It knows nothing of locks, and vivid makes no fences: nothing of ours may hold it up.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from actors import Actor, until
from buffers import allocate
from foreign import Client
from locks import READ, WRITE, lock, trylock, unlock
from vivid import vivid_pair

from dmabuf_sync import Blitter, DmaBuf

WIDTH, HEIGHT = 320, 180
PATIENCE = 20.0
# Who makes the buffers that the other one gets.
WAYS = {
    "capture": ("--stream-mmap=3", "--stream-out-dmabuf"),
    "output": ("--stream-out-mmap=3", "--stream-dmabuf"),
}

pytestmark = pytest.mark.slow

Actors = Callable[[int], list[Actor]]


@pytest.fixture(scope="module")
def vivid() -> tuple[str, str]:
    """The capture and the output node."""
    return vivid_pair()


class Stream(Client):
    """A running v4l2-ctl. It prints something for every frame."""

    def __init__(self, capture: str, output: str, way: str) -> None:
        form = f"width={WIDTH},height={HEIGHT},pixelformat=XR24"
        for node, option in ((capture, "--set-fmt-video"), (output, "--set-fmt-video-out")):
            subprocess.run(["v4l2-ctl", "-d", node, f"{option}={form}"], check=True)
        super().__init__("v4l2-ctl", "-d", capture, "-e", output, *WAYS[way])
        os.set_blocking(self.pipe, False)

    def goes_on(self, frames: int = 5) -> None:
        """Wait for so many more frames."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.pipe, 4096):
                pass
        seen = b""
        deadline = time.monotonic() + PATIENCE
        while len(seen) < 2 * frames:
            ready = select.select([self.pipe], [], [], deadline - time.monotonic())[0]
            assert ready, f"v4l2-ctl is stuck after {seen!r}"
            data = os.read(self.pipe, 4096)
            assert data, f"v4l2-ctl has ended with {seen!r}"
            seen += data


@pytest.fixture(params=WAYS)
def stream(request: pytest.FixtureRequest, vivid: tuple[str, str]) -> Iterator[Stream]:
    made = Stream(*vivid, request.param)
    yield made
    made.close()


@pytest.fixture
def theirs(stream: Stream) -> Iterator[list[int]]:
    """The buffers of the stream."""
    until(lambda: len(stream.buffers()) >= 3, "v4l2-ctl's export of three buffers")
    fds = stream.take_buffers()
    stream.goes_on()
    yield fds
    for fd in fds:
        os.close(fd)


def test_our_locks_on_its_buffers(stream: Stream, theirs: list[int], actors: Actors) -> None:
    (other,) = actors(1)
    for fd in theirs:
        lock(fd, WRITE)
        with pytest.raises(BlockingIOError):
            other.call(trylock, fd, READ)
    stream.goes_on()
    with Blitter() as blitter, DmaBuf(allocate("vdmabuf", 1 << 20)) as ours:
        job = blitter.copy(theirs[0], ours, WIDTH * HEIGHT * 4, wait=False)
        stream.goes_on()
        assert not job.granted
        for fd in theirs:
            unlock(fd)
        job.wait(PATIENCE)
        job.close()
        with ours.map() as memory:
            assert len(set(memory[: WIDTH * 4].cast("I"))) > 1
    for fd in theirs:
        other.call(trylock, fd, WRITE)
        other.call(unlock, fd)
    stream.goes_on()


def test_its_end_is_not_ours(stream: Stream, theirs: list[int], actors: Actors) -> None:
    """It is killed: our locks and the memory stay."""
    (other,) = actors(1)
    lock(theirs[0], WRITE)
    stream.close()
    with pytest.raises(BlockingIOError):
        other.call(trylock, theirs[0], READ)
    with DmaBuf(os.dup(theirs[1])) as buffer, buffer.map() as memory:
        assert len(memory) >= WIDTH * HEIGHT * 4
    unlock(theirs[0])
    other.call(trylock, theirs[0], WRITE)
    other.call(unlock, theirs[0])
