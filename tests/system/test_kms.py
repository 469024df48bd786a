# SPDX-License-Identifier: MIT
"""Real KMS drivers: what QEMU sees on their displays is what was drawn under locks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from actors import Actor, until
from locks import WRITE, lock, trylock, unlock
from screens import DRIVERS, PATIENCE, Canvas, Screen, canvas, colors, fill, noise
from state import accesses, waiting

from dmabuf_sync import Access, LockRevoked, Sync
from dmabuf_sync.demo import draw
from dmabuf_sync.demo.draw import Pixels

# What an actor keeps.
_kept: Sync

pytestmark = pytest.mark.slow

Actors = Callable[[int], list[Actor]]


@pytest.fixture(params=DRIVERS)
def screen(request: pytest.FixtureRequest) -> Iterator[Screen]:
    made = Screen(request.param)
    yield made
    made.card.close()


def fill_for_ever(canvases: list[Canvas]) -> None:
    color = 0
    while True:
        for each in canvases:
            color += 1
            fill(each, color)


def test_screen_shows_what_was_drawn(screen: Screen) -> None:
    frames = screen.frames(2)
    for number in range(2):
        frame = frames[number % 2]
        drawn: list[Pixels] = []

        def paint(pixels: Pixels, number: int = number, drawn: list[Pixels] = drawn) -> None:
            pixels[:] = noise(number, pixels)
            draw.draw(pixels, number)
            drawn.append(pixels.copy())

        frame.draw(paint, timeout=PATIENCE)
        screen.show(frame)
        np.testing.assert_array_equal(screen.picture(), drawn[0])


def test_painter_waits_as_long_as_its_frame_is_shown(screen: Screen, actors: Actors) -> None:
    """Locked from before the flip until the event of the flip that replaces it."""
    old, new = screen.frames(2)
    (painter,) = actors(1)
    fill(canvas(old), 1)
    fill(canvas(new), 2)
    screen.show(old)
    fd = old.buffer.fileno()
    with pytest.raises(BlockingIOError):
        trylock(fd, WRITE)
    painter.start(fill, canvas(old), 3)
    until(lambda: painter.pid in waiting(fd), "waiting of the painter")
    assert colors(screen.picture()) == [1]
    screen.card.flip(new)
    assert painter.running()  # the event has not been read, so who knows what is shown
    screen.card.complete(PATIENCE)
    painter.result()
    assert colors(screen.picture()) == [2]
    screen.show(old)
    assert colors(screen.picture()) == [3]


def test_flip_waits_for_the_painter(screen: Screen, actors: Actors) -> None:
    (frame,) = screen.frames(1)
    (painter,) = actors(1)
    painter.call(lock, frame.buffer.fileno(), WRITE)
    with pytest.raises(TimeoutError):
        screen.card.flip(frame, timeout=0.05)
    painter.call(unlock, frame.buffer.fileno())
    screen.show(frame)


def test_every_picture_is_whole(screen: Screen, actors: Actors) -> None:
    """A painter in another process that knows no flips: its locks make it draw what is free."""
    frames = screen.frames(2)
    (painter,) = actors(1)
    painter.start(fill_for_ever, [canvas(frame) for frame in frames])
    seen = set()
    for number in range(6):
        screen.show(frames[number % 2])
        shown = colors(screen.picture())
        assert len(shown) == 1
        seen.update(shown)
    assert len(seen) > 2
    assert painter.running()


def test_what_the_lock_keeps_out(screen: Screen) -> None:
    """Without one, half a picture is on the screen as soon as it is in the buffer."""
    (frame,) = screen.frames(1)
    if screen.name == "virtio" or not os.path.exists("/sys/module/drm_vram_helper"):
        pytest.skip("this driver copies a frame when it is flipped to")
    fill(canvas(frame), 1)
    screen.show(frame)
    with frame.buffer.map() as memory:
        memory[: frame.buffer.size // 2] = bytes([2, 0, 0, 0]) * (frame.buffer.size // 8)
    assert colors(screen.picture()) == [1, 2]


def test_dead_display_gives_its_frames_back(screen: Screen, actors: Actors) -> None:
    """A process that shares the frames locks one as a display does, and is killed."""
    (frame,) = screen.frames(1)
    owner, painter = actors(2)
    owner.call(lock_for_display, frame.buffer.fileno())
    painter.start(fill, canvas(frame), 5)
    until(lambda: painter.pid in waiting(frame.buffer.fileno()), "waiting of the painter")
    owner.kill()
    painter.result()
    screen.show(frame)
    assert colors(screen.picture()) == [5]


def lock_for_display(fd: int) -> None:
    global _kept
    _kept = Sync("display")
    _kept.add(fd, Access.READ | Access.DMA)
    _kept.lock()


def test_revoked_while_shown_is_told(screen: Screen, actors: Actors) -> None:
    """A display that forgets to flip does not keep a painter for ever, and hears of it."""
    old, new = screen.frames(2)
    (painter,) = actors(1)
    screen.card.flip(old, hold=0.05)
    screen.card.complete(PATIENCE)
    painter.call(fill, canvas(old), 1)
    screen.card.flip(new)
    with pytest.raises(LockRevoked):
        screen.card.complete(PATIENCE)
    assert not accesses(old.buffer.fileno())
    screen.show(old)
    assert colors(screen.picture()) == [1]
