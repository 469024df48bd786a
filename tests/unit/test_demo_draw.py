# SPDX-License-Identifier: MIT
"""The check of the main job finds what it is there to find."""

from __future__ import annotations

import numpy as np
import pytest

from dmabuf_sync.demo.draw import Check, Pixels, box_of, check, draw

WIDTH, HEIGHT = 320, 180


def source_of(frame: int) -> Pixels:
    """Colour bars that move, as the camera's do: every row differs from frame to frame."""
    columns = (np.arange(WIDTH, dtype=np.uint32) + frame * 5) % WIDTH // 40 * 0x1F2A35
    return np.ascontiguousarray(np.broadcast_to(columns & 0xFFFFFF, (HEIGHT, WIDTH)))


@pytest.mark.parametrize("frame", [0, 7, 42, 999, 123456])
def test_drawn_frame_is_whole(frame: int) -> None:
    source = source_of(frame)
    picture = source.copy()
    box = draw(picture, frame)
    assert check(picture, source, frame, box) == Check(HEIGHT, 0)
    assert check(picture, source, frame, box).whole


def test_draw_changes_the_box_and_nothing_else() -> None:
    source = source_of(3)
    picture = source.copy()
    draw(picture, 3)
    area = box_of(3, WIDTH, HEIGHT).area
    assert (picture[area] != source[area]).mean() > 0.5
    picture[area] = source[area]
    assert np.array_equal(picture, source)


def test_draw_shows_the_frame_number() -> None:
    pictures = [source_of(0) for _ in range(2)]
    for number, picture in enumerate(pictures, start=10):
        draw(picture, number)
    boxes = [picture[box_of(n, WIDTH, HEIGHT).area] for n, picture in enumerate(pictures, 10)]
    assert not np.array_equal(*boxes)


def test_draw_keeps_pixels_24_bits_wide() -> None:
    picture = np.full((HEIGHT, WIDTH), 0xFFFFFF, dtype=np.uint32)
    draw(picture, 8888)
    assert picture.max() == 0xFFFFFF


@pytest.mark.parametrize("frame", range(0, 400, 13))
def test_box_stays_inside(frame: int) -> None:
    box = box_of(frame, WIDTH, HEIGHT)
    assert 0 <= box.x <= WIDTH - box.width
    assert 0 <= box.y <= HEIGHT - box.height


@pytest.mark.parametrize("seam", [1, 60, HEIGHT - 1])
def test_planted_torn_frame_is_found(seam: int) -> None:
    source = source_of(20)
    picture = source.copy()
    picture[seam:] = source_of(18)[seam:]
    result = check(picture, source, 20, draw(picture, 20))
    assert result == Check(HEIGHT, HEIGHT - seam)
    assert result.torn
    assert not result.whole
    assert not result.stale


def test_older_frame_is_stale_not_torn() -> None:
    picture = source_of(18)
    result = check(picture, source_of(20), 20, draw(picture, 20))
    assert result.stale
    assert not result.torn
    assert not result.whole


def test_one_wrong_pixel_is_found() -> None:
    source = source_of(20)
    picture = source.copy()
    box = draw(picture, 20)
    picture[HEIGHT - 1, WIDTH - 1] ^= 1
    assert check(picture, source, 20, box) == Check(HEIGHT, 1)


def test_lost_drawing_is_found() -> None:
    source = source_of(20)
    picture = source.copy()
    box = draw(picture, 20)
    picture[:] = source  # as a late DMA would
    result = check(picture, source, 20, box)
    assert result.torn
    assert result.wrong == box_of(20, WIDTH, HEIGHT).height
