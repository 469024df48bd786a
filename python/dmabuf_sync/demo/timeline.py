# SPDX-License-Identifier: MIT
"""Who was busy with which frame, and when: recorded while the pipeline runs, drawn afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from PIL import Image

from ..trace.canvas import PixelCanvas
from ..trace.chart import Bar, Legend, Panel, Row, draw

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


_LEGEND = (
    Legend("at work on a frame"),
    Legend(
        "waits for that frame's buffers: for a lock, or behind others in the DMA queue",
        waiting=True,
    ),
)


def _panel(timeline: Timeline, length: int) -> Panel:
    """A window around the middle of a run, when it has settled; begins with a camera frame."""
    if not timeline.spans:
        raise ValueError("nothing was recorded")
    spans = timeline.spans
    first, last = min(span.start for span in spans), max(span.end for span in spans)
    target = first + max(last - first - length, 0) // 2
    starts = [s.start for s in spans if s.lane is Lane.CAMERA and not s.waiting]
    start = min(starts, key=lambda start: abs(start - target), default=target)
    rows = [
        Row(lane.value, [_bar(span) for span in spans if span.lane is lane]) for lane in Lane
    ]
    return Panel(timeline.title, rows, start, length)


def _bar(span: Span) -> Bar:
    return Bar(span.start, span.end, span.frame, str(span.frame), span.waiting)


def render(timelines: Sequence[Timeline], length: float) -> Image.Image:
    """Draw ``length`` seconds from the middle of each run, one below the other on one scale.

    Solid bars are work, hatched bars below them are waits for a lock; the colour follows the frame.
    ValueError when a timeline is empty.
    """
    panels = [_panel(timeline, round(length * _SECOND)) for timeline in timelines]
    canvas = draw(panels, _LEGEND, PixelCanvas)
    assert isinstance(canvas, PixelCanvas)
    return canvas.image
