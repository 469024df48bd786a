# SPDX-License-Identifier: MIT
"""The CPU's work on a frame: draw a moving glass box with the frame number, then prove every pixel.

Pictures are two-dimensional uint32 arrays, one 0x00RRGGBB number a pixel, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint32]

_TINT = np.uint32(0x00204080)
_EDGE = np.uint32(0x00FFFFFF)
_DIGIT_SCALE = 8

# Digits of 3 by 5 dots; each row is three bits, the leftmost highest.
_DIGITS = (
    (7, 5, 5, 5, 7),
    (2, 6, 2, 2, 7),
    (7, 1, 7, 4, 7),
    (7, 1, 3, 1, 7),
    (5, 5, 7, 1, 1),
    (7, 4, 7, 1, 7),
    (7, 4, 7, 5, 7),
    (7, 1, 2, 2, 2),
    (7, 5, 7, 5, 7),
    (7, 5, 7, 1, 7),
)


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture, in pixels from its top left corner."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> tuple[slice, slice]:
        """The rectangle as an index into a picture."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def box_of(frame: int, width: int, height: int) -> Box:
    """Where the box of a frame is: it bounces between the edges of a picture of this size."""
    box_width, box_height = width * 3 // 8, height // 3
    return Box(
        _bounce(frame * 7, width - box_width),
        _bounce(frame * 5, height - box_height),
        box_width,
        box_height,
    )


def _bounce(distance: int, room: int) -> int:
    if room <= 0:
        return 0
    distance %= 2 * room
    return min(distance, 2 * room - distance)


@cache
def _digit(value: int) -> NDArray[np.bool_]:
    dots = np.array([[row >> bit & 1 for bit in (2, 1, 0)] for row in _DIGITS[value]])
    shape = np.kron(dots, np.ones((_DIGIT_SCALE, _DIGIT_SCALE), dtype=int))
    return np.pad(shape, _DIGIT_SCALE // 2).astype(bool)


def _number(value: int) -> NDArray[np.bool_]:
    return np.hstack([_digit(int(digit)) for digit in str(value)])


def _mean(one: Pixels, other: Pixels | np.uint32) -> Pixels:
    """Half of each, in all channels at once: no channel carries into the next."""
    return (one & other) + ((one ^ other) >> 1 & np.uint32(0x7F7F7F))


def _blur(box: Pixels) -> Pixels:
    """Every pixel the mean of 8 by 8 around it; to the edges of the box, of fewer."""
    for axis in (0, 1):
        for step in (1, -2, 4):
            moved = box.swapaxes(0, axis)  # a view: its first axis is the one to blur
            box = box.copy()
            target = box.swapaxes(0, axis)
            if step > 0:
                target[step:] = _mean(moved[step:], moved[:-step])
            else:
                target[:step] = _mean(moved[:step], moved[-step:])
    return box


def draw(picture: Pixels, frame: int) -> Pixels:
    """Draw the box and the number of ``frame`` into ``picture``, in place.

    Returns a copy of what the box holds now, for ``check()``.
    """
    height, width = picture.shape
    area = box_of(frame, width, height).area
    box = _mean(_blur(picture[area]), _TINT)
    box[:2] = box[-2:] = box[:, :2] = box[:, -2:] = _EDGE
    number = _number(frame)
    rows, columns = (min(have, want) for have, want in zip(box.shape, number.shape, strict=True))
    top, left = (box.shape[0] - rows) // 2, (box.shape[1] - columns) // 2
    box[top : top + rows, left : left + columns][number[:rows, :columns]] = _EDGE
    picture[area] = box
    return box


@dataclass(frozen=True)
class Check:
    """How many rows of a picture hold a pixel that should not be there."""

    rows: int
    wrong: int

    @property
    def whole(self) -> bool:
        """Every pixel is right."""
        return self.wrong == 0

    @property
    def torn(self) -> bool:
        """Some rows are of this frame and some are not: a frame seen half written."""
        return 0 < self.wrong < self.rows

    @property
    def stale(self) -> bool:
        """No row is of this frame: an older one was seen."""
        return self.wrong == self.rows


def check(picture: Pixels, source: Pixels, frame: int, box: Pixels) -> Check:
    """Compare every pixel outside the drawn box with ``source`` and the box with ``box``."""
    height, width = picture.shape
    area = box_of(frame, width, height).area
    wrong = picture != source
    wrong[area] = picture[area] != box
    return Check(height, int(np.count_nonzero(wrong.any(axis=1))))
