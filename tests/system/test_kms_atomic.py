# SPDX-License-Identifier: MIT
"""Explicit synchronisation with a real KMS driver: atomic flips that wait for a job's fence."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from actors import Actor, until
from buffers import allocate
from screens import DRIVERS, PATIENCE, Screen, canvas, colors, fill, noise
from state import accesses, waiting

from dmabuf_sync import Access, Blitter, DmaBuf, Job, Rect
from dmabuf_sync.demo.draw import Pixels
from dmabuf_sync.demo.kms import Frame
from dmabuf_sync.demo.kms_atomic import AtomicCard

WIDTH, HEIGHT = 640, 480
SIZE = WIDTH * HEIGHT * 4
RECT = Rect(0, 0, WIDTH, HEIGHT, WIDTH * 4)
SPEED = "/sys/module/vblit/parameters/bytes_per_second"

pytestmark = pytest.mark.slow

Actors = Callable[[int], list[Actor]]


@pytest.fixture(params=DRIVERS)
def screen(request: pytest.FixtureRequest) -> Iterator[Screen]:
    made = Screen(request.param, AtomicCard)
    yield made
    made.card.close()


@pytest.fixture
def blitter() -> Iterator[Blitter]:
    """One that takes a second and a half for a frame."""
    _set_speed(SIZE * 2 // 3)
    with Blitter() as made:
        yield made
    _set_speed(0)


def _set_speed(speed: int) -> None:
    with open(SPEED, "w") as file:
        file.write(str(speed))


@pytest.fixture
def picture() -> Iterator[tuple[DmaBuf, Pixels]]:
    """A buffer of our own exporter, and what is in it."""
    with DmaBuf(allocate("vdmabuf", SIZE)) as buffer:
        pixels = noise(1, np.empty((HEIGHT, WIDTH), np.uint32))
        with buffer.locked(Access.WRITE), buffer.map() as memory:
            np.frombuffer(memory, np.uint32)[:] = pixels.reshape(-1)
        yield buffer, pixels


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """Skip where a driver's buffers are for the CPU only."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        pytest.skip("this kernel's driver lends its buffers to no device, as bochs on 6.12")


def blit(blitter: Blitter, picture: DmaBuf, frame: Frame) -> Job:
    """Draw the picture onto a frame."""
    with lent():
        return blitter.blit(picture, frame.buffer, RECT, Rect(0, 0, WIDTH, HEIGHT, frame.pitch))


def test_engine_reads_a_frame(screen: Screen, picture: tuple[DmaBuf, Pixels]) -> None:
    """Drawn by the CPU, copied by the engine while it is shown, as the display does."""
    (frame,) = screen.frames(1)
    drawn: list[Pixels] = []

    def paint(pixels: Pixels) -> None:
        pixels[:] = noise(2, pixels)
        drawn.append(pixels.copy())

    frame.draw(paint, timeout=PATIENCE)
    screen.show(frame)
    source = Rect(0, 0, WIDTH, HEIGHT, frame.pitch)
    with Blitter() as blitter, lent():
        blitter.blit(frame.buffer, picture[0], source, RECT).wait(PATIENCE)
    with picture[0].locked(Access.READ), picture[0].map(Access.READ) as memory:
        seen = np.frombuffer(memory, np.uint32).reshape(HEIGHT, WIDTH).copy()
    np.testing.assert_array_equal(seen, drawn[0])
    np.testing.assert_array_equal(seen & 0xFFFFFF, screen.picture())


def test_flip_waits_for_the_fence_of_a_job(
    screen: Screen, blitter: Blitter, picture: tuple[DmaBuf, Pixels]
) -> None:
    """Nobody waits in user space: the driver shows the frame when the engine has filled it."""
    old, new = screen.frames(2)
    fill(canvas(old), 1)
    fill(canvas(new), 2)
    screen.show(old)
    job = blit(blitter, picture[0], new)
    with new.buffer.export_sync_file(Access.READ) as fence:
        screen.card.flip_after(new, fence)
    assert not job.done
    assert colors(screen.picture()) == [1]
    assert not job.done
    assert [access.kind for access in accesses(new.buffer.fileno())] == ["job", "sync"]
    screen.card.complete(PATIENCE)
    assert job.status == 0
    np.testing.assert_array_equal(screen.picture(), picture[1])
    screen.show(old)
    assert colors(screen.picture()) == [1]


def test_painter_comes_behind_the_flip(
    screen: Screen, blitter: Blitter, picture: tuple[DmaBuf, Pixels], actors: Actors
) -> None:
    """Who wants to draw meanwhile waits for the job, and until another frame is shown."""
    old, new = screen.frames(2)
    (painter,) = actors(1)
    screen.show(old)
    job = blit(blitter, picture[0], new)
    with job.sync_file() as fence:
        screen.card.flip_after(new, fence)
    painter.start(fill, canvas(new), 3)
    until(lambda: painter.pid in waiting(new.buffer.fileno()), "waiting of the painter")
    screen.card.complete(PATIENCE)
    assert painter.running()
    np.testing.assert_array_equal(screen.picture(), picture[1])
    screen.show(old)
    painter.result()
    screen.show(new)
    assert colors(screen.picture()) == [3]


def test_a_display_that_is_off(screen: Screen, picture: tuple[DmaBuf, Pixels]) -> None:
    (frame,) = screen.frames(1)
    with picture[0].export_sync_file(Access.READ) as fence, pytest.raises(OSError) as caught:
        screen.card.flip_after(frame, fence)
    assert caught.value.errno == errno.EINVAL
    screen.show(frame)
