# SPDX-License-Identifier: MIT
"""Who was busy with which frame, and when: recorded while the pipeline runs, drawn afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from PIL import Image, ImageDraw, ImageFont

_SECOND = 1_000_000_000


class Lane(Enum):
    """Who is busy; the value is the name in the picture."""

    CAMERA = "camera"
    DMA = "DMA"
    CPU = "CPU"


@dataclass(frozen=True)
class Span:
    """One frame in one lane, CLOCK_MONOTONIC nanoseconds; ``waiting`` for a lock, or at work."""

    lane: Lane
    frame: int
    start: int
    end: int
    waiting: bool = False


@dataclass
class Timeline:
    """The spans of one run. Threads may add spans at the same time."""

    title: str
    spans: list[Span] = field(default_factory=list)

    def add(self, lane: Lane, frame: int, start: int, end: int, waiting: bool = False) -> None:
        """Record that ``lane`` was at work on ``frame``, or waited for it."""
        self.spans.append(Span(lane, frame, start, end, waiting))  # atomic under the GIL

    def busy(self, lane: Lane) -> list[int]:
        """How long each piece of work in ``lane`` took, in nanoseconds."""
        return [s.end - s.start for s in self.spans if s.lane is lane and not s.waiting]

    def to_json(self) -> dict[str, object]:
        """Plain values for the json module; times in nanoseconds since the first span began."""
        first = min((span.start for span in self.spans), default=0)
        return {
            "title": self.title,
            "spans": [
                {
                    "lane": span.lane.value,
                    "frame": span.frame,
                    "start_ns": span.start - first,
                    "end_ns": span.end - first,
                    "waiting": span.waiting,
                }
                for span in sorted(self.spans, key=lambda span: span.start)
            ],
        }


_WIDTH = 1400
_LEFT, _RIGHT, _MARGIN = 96, 36, 20
_WORK, _WAIT, _GAP = 30, 10, 14  # heights of a work bar, of a row of waits, between lanes
_TITLE, _AXIS = 34, 30
_BACKGROUND, _INK, _GRID, _LANE = "#ffffff", "#202428", "#d5d9de", "#f3f5f7"
_COLOURS = ("#3b76c4", "#d9822b", "#3c9a5f", "#a854a8", "#c0433f", "#4aa3b5")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    # The built-in font has sizes and anchors from Pillow 10.1 on; Debian 12 has 9.4.
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def _rows(waits: Sequence[Span]) -> list[tuple[int, Span]]:
    """Give each wait the first row in which nothing overlaps it."""
    ends: list[int] = []
    placed = []
    for span in sorted(waits, key=lambda span: span.start):
        row = next((row for row, end in enumerate(ends) if end <= span.start), len(ends))
        if row == len(ends):
            ends.append(0)
        ends[row] = span.end
        placed.append((row, span))
    return placed


@dataclass(frozen=True)
class _Window:
    """A stretch of time and its place in the picture."""

    start: int
    length: int

    def x(self, time: int) -> float:
        share = min(max((time - self.start) / self.length, 0.0), 1.0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def cut(self, spans: Sequence[Span]) -> list[Span]:
        end = self.start + self.length
        return [span for span in spans if span.start < end and span.end > self.start]


def _hatch(
    draw: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, colour: str
) -> None:
    height = y1 - y0
    x = x0 - height
    while x < x1:
        low, high = max(x0 - x, 0.0), min(x1 - x, height)  # the part of the stroke that is inside
        draw.line((x + low, y1 - low, x + high, y1 - high), fill=colour)
        x += 5
    draw.rectangle((x0, y0, x1, y1), outline=colour)


def _lane_height(spans: Sequence[Span]) -> int:
    rows = max((row for row, _ in _rows([s for s in spans if s.waiting])), default=-1) + 1
    return _WORK + (4 + rows * (_WAIT + 2) if rows else 0)


def _draw_lane(
    draw: ImageDraw.ImageDraw, lane: Lane, spans: Sequence[Span], window: _Window, top: int
) -> int:
    """Draw one lane with its upper edge at ``top``; returns its lower edge."""
    height = _lane_height(spans)
    draw.rectangle((_LEFT, top, _WIDTH - _RIGHT, top + height), fill=_LANE)
    draw.text((_MARGIN, top + _WORK // 2), lane.value, fill=_INK, font=_font(16), anchor="lm")
    for span in spans:
        if span.waiting:
            continue
        x0, x1 = window.x(span.start), window.x(span.end)
        colour = _COLOURS[span.frame % len(_COLOURS)]
        draw.rectangle((x0, top, max(x1 - 1, x0 + 1), top + _WORK), fill=colour)
        label, font = str(span.frame), _font(14)
        if draw.textlength(label, font=font) + 4 < x1 - x0:
            middle = ((x0 + x1) / 2, top + _WORK / 2)
            draw.text(middle, label, fill=_BACKGROUND, font=font, anchor="mm")
    for row, span in _rows([span for span in spans if span.waiting]):
        x0, x1 = window.x(span.start), window.x(span.end)
        y0 = top + _WORK + 4 + row * (_WAIT + 2)
        _hatch(draw, x0, y0, x1, y0 + _WAIT, _COLOURS[span.frame % len(_COLOURS)])
    return top + height


def _draw_axis(
    draw: ImageDraw.ImageDraw, window: _Window, top: int, bottom: int, labels: bool
) -> None:
    step = next(
        (ms for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500) if window.length / 16 <= ms * 1_000_000),
        1000,
    )
    for ms in range(0, window.length // 1_000_000 + 1, step):
        x = window.x(window.start + ms * 1_000_000)
        draw.line((x, top, x, bottom), fill=_GRID)
        if labels:
            draw.text((x, bottom + 4), f"{ms} ms", fill=_INK, font=_font(12), anchor="ma")


def _middle(timeline: Timeline, length: int) -> _Window:
    """A window around the middle of a run, when it has settled; begins with a camera frame."""
    spans = timeline.spans
    first, last = min(span.start for span in spans), max(span.end for span in spans)
    target = first + max(last - first - length, 0) // 2
    starts = [s.start for s in spans if s.lane is Lane.CAMERA and not s.waiting]
    return _Window(min(starts, key=lambda start: abs(start - target), default=target), length)


def render(timelines: Sequence[Timeline], length: float) -> Image.Image:
    """Draw ``length`` seconds from the middle of each run, one below the other on one scale.

    Solid bars are work, hatched bars below them are waits for a lock; the colour follows the frame.
    ValueError when a timeline is empty.
    """
    if not timelines or any(not timeline.spans for timeline in timelines):
        raise ValueError("nothing was recorded")
    windows = [_middle(timeline, round(length * _SECOND)) for timeline in timelines]
    lanes = [
        {lane: [s for s in window.cut(timeline.spans) if s.lane is lane] for lane in Lane}
        for timeline, window in zip(timelines, windows, strict=True)
    ]
    height = 2 * _MARGIN + 24
    for of_lane in lanes:
        height += _TITLE + _AXIS + sum(_lane_height(spans) + _GAP for spans in of_lane.values())
    image = Image.new("RGB", (_WIDTH, height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    top = _MARGIN
    for timeline, window, of_lane in zip(timelines, windows, lanes, strict=True):
        draw.text((_MARGIN, top), timeline.title, fill=_INK, font=_font(18))
        top += _TITLE
        bottom = top + sum(_lane_height(spans) + _GAP for spans in of_lane.values())
        row = top
        for lane, spans in of_lane.items():
            row = _draw_lane(draw, lane, spans, window, row) + _GAP
        _draw_axis(draw, window, bottom - _GAP, bottom - _GAP + 5, labels=True)
        top = bottom + _AXIS
    _draw_legend(draw, top)
    return image


def _draw_legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    draw.rectangle((_LEFT, top, _LEFT + 36, top + 14), fill=_COLOURS[0])
    draw.text((_LEFT + 44, top + 7), "at work on a frame", fill=_INK, font=_font(14), anchor="lm")
    _hatch(draw, _LEFT + 220, top, _LEFT + 256, top + 14, _COLOURS[0])
    text = "waits for that frame's buffers: for a lock, or behind others in the DMA queue"
    draw.text((_LEFT + 264, top + 7), text, fill=_INK, font=_font(14), anchor="lm")
