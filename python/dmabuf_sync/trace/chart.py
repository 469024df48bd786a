# SPDX-License-Identifier: MIT
"""Charts: rows of bars along one axis of time, work as solid bars and waits as hatched ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .canvas import Canvas
from .spans import lanes

COLOURS = (
    *("#3b76c4", "#d9822b", "#3c9a5f", "#a854a8", "#c0433f", "#4aa3b5"),
    *("#8a6d3b", "#5b5fc7", "#7f9a2d", "#d0669a", "#6b7783", "#20808d"),
)

_WIDTH = 1400
_LEFT, _RIGHT, _MARGIN = 96, 36, 20
_LABEL = 250  # at most
_WORK, _WAIT, _GAP = 30, 10, 14  # heights of a work bar, of a row of waits, between rows
_TITLE, _AXIS, _LEGEND = 34, 30, 24
_END = 4  # width of a black end
_MOST_WAITS = 8  # rows of them; a crowd is as good as its beginning
_BACKGROUND, _INK, _GRID, _ROW = "#ffffff", "#202428", "#d5d9de", "#f3f5f7"
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


@dataclass(frozen=True)
class Bar:
    """From `start` to `end`, in nanoseconds."""

    start: int
    end: int
    colour: int
    """Counts through COLOURS."""
    label: str = ""
    """Written into it if there is room."""
    waiting: bool = False
    light: bool = False
    """In a lighter shade: less than full use."""
    tip: str = ""
    broken: bool = False
    """It did not end as it should, and gets a black end."""


@dataclass
class Row:
    """What is beside one label: bars that overlap are put below each other."""

    label: str
    bars: list[Bar] = field(default_factory=list)


@dataclass
class Panel:
    """Rows on one stretch of time, in nanoseconds. Panels below each other have one scale."""

    title: str
    rows: list[Row]
    start: int
    length: int
    zero: int | None = None
    """What the axis calls 0; `start` if it is None."""


@dataclass(frozen=True)
class Legend:
    """What a kind of bar means."""

    text: str
    waiting: bool = False
    light: bool = False
    broken: bool = False


def shade(colour: str) -> str:
    """Half way to white."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{(part + 0xFF) // 2:02x}" for part in parts)


def draw(
    panels: Sequence[Panel], legend: Sequence[Legend], canvas: Callable[[int, int], Canvas]
) -> Canvas:
    """Draw the panels on a canvas that is made as wide and high as they need.

    ValueError when there is nothing to draw.
    """
    if not any(row.bars for panel in panels for row in panel.rows):
        raise ValueError("nothing was recorded")
    ruler = canvas(1, 1)
    labels = [row.label for panel in panels for row in panel.rows]
    longest = max(ruler.text_length(label, 16) for label in labels)
    left = round(min(max(longest + _MARGIN + 10, _LEFT), _LABEL + _MARGIN + 10))
    placed = [_place(panel, left) for panel in panels]
    height = 2 * _MARGIN + _LEGEND + sum(_height(rows) for rows in placed)
    chart = _Chart(canvas(_WIDTH, height), left)
    top = _MARGIN
    for panel, rows in zip(panels, placed, strict=True):
        chart.panel(panel, rows, top)
        top += _height(rows)
    chart.legend(legend, top)
    return chart.canvas


@dataclass(frozen=True)
class _Placed:
    """A row's bars inside the panel's time, in rows in which nothing overlaps."""

    label: str
    work: list[list[Bar]]
    waits: list[list[Bar]]

    @property
    def height(self) -> int:
        work = max(len(self.work), 1) * (_WORK + 2) - 2
        return work + (4 + len(self.waits) * (_WAIT + 2) if self.waits else 0)


def _place(panel: Panel, left: int) -> list[_Placed]:
    end = panel.start + panel.length
    pixel = panel.length / (_WIDTH - left - _RIGHT)
    rows = []
    for row in panel.rows:
        bars = [bar for bar in row.bars if bar.start < end and bar.end > panel.start]
        work = lanes([bar for bar in bars if not bar.waiting])
        waits = lanes([bar for bar in bars if bar.waiting])[:_MOST_WAITS]
        rows.append(
            _Placed(
                row.label,
                [_visible(lane, pixel) for lane in work],
                [_visible(lane, pixel) for lane in waits],
            )
        )
    return rows


def _visible(lane: list[Bar], pixel: float) -> list[Bar]:
    """Without bars that would be drawn on top of one as small as they are."""
    kept: list[Bar] = []
    for bar in lane:
        tiny = kept and bar.end - kept[-1].start < pixel and bar.colour == kept[-1].colour
        if tiny and not bar.broken:
            continue
        kept.append(bar)
    return kept


def _height(rows: list[_Placed]) -> int:
    return _TITLE + _AXIS + sum(row.height + _GAP for row in rows)


class _Chart:
    """A canvas that is being filled."""

    def __init__(self, canvas: Canvas, left: int) -> None:
        self.canvas = canvas
        self._left = left

    def panel(self, panel: Panel, rows: list[_Placed], top: int) -> None:
        self.canvas.text(_MARGIN, top, panel.title, 18, _INK)
        top += _TITLE
        for row in rows:
            self._row(panel, row, top)
            top += row.height + _GAP
        self._axis(panel, top - _GAP)

    def _x(self, panel: Panel, time: int) -> float:
        share = min(max((time - panel.start) / panel.length, 0.0), 1.0)
        return self._left + share * (_WIDTH - self._left - _RIGHT)

    def _row(self, panel: Panel, row: _Placed, top: int) -> None:
        canvas = self.canvas
        canvas.rectangle(self._left, top, _WIDTH - _RIGHT, top + row.height, _ROW)
        label = self._fitting(row.label, 16, self._left - _MARGIN - 8)
        canvas.text(_MARGIN, top + _WORK // 2, label, 16, _INK, "lm")
        for lane in row.work:
            for bar in lane:
                x0, x1 = self._x(panel, bar.start), self._x(panel, bar.end)
                colour = COLOURS[bar.colour % len(COLOURS)]
                colour = shade(colour) if bar.light else colour
                x1 = max(x1 - 1, x0 + 1)
                canvas.rectangle(x0, top, x1, top + _WORK, colour, bar.tip)
                if bar.broken:
                    canvas.rectangle(x1 - _END, top, x1, top + _WORK, _INK, bar.tip)
                label = self._fitting(bar.label, 14, x1 - x0 - 3 - 2 * _END * bar.broken)
                ink = _INK if bar.light else _BACKGROUND
                if label:
                    canvas.text((x0 + x1 + 1) / 2, top + _WORK / 2, label, 14, ink, "mm")
            top += _WORK + 2
        top += 2 if row.work else _WORK + 4
        for lane in row.waits:
            for bar in lane:
                x0, x1 = self._x(panel, bar.start), self._x(panel, bar.end)
                colour = COLOURS[bar.colour % len(COLOURS)]
                x1 = max(x1, x0 + 1)
                canvas.hatched(x0, top, x1, top + _WAIT, colour, bar.tip)
                if bar.broken:
                    canvas.rectangle(x1 - _END, top, x1, top + _WAIT, _INK, bar.tip)
            top += _WAIT + 2

    def _fitting(self, text: str, size: int, width: float) -> str:
        """The text, shortened to the width; nothing if not even three letters fit."""
        if width <= 0 or self.canvas.text_length(text, size) <= width:
            return text if width > 0 else ""
        while len(text) > 3:
            text = text[:-1]
            if self.canvas.text_length(f"{text}…", size) <= width:
                return f"{text}…"
        return ""

    def _axis(self, panel: Panel, top: int) -> None:
        step = _step(panel.length)
        size, unit = next((size, unit) for size, unit in _UNITS if step >= size)
        zero = panel.start if panel.zero is None else panel.zero
        first = panel.start - zero
        # Round numbers only.
        for time in range(-(-first // step) * step, first + panel.length + 1, step):
            x = self._x(panel, zero + time)
            self.canvas.line(x, top, x, top + 5, _GRID)
            self.canvas.text(x, top + 9, f"{time // size} {unit}", 12, _INK, "ma")

    def legend(self, entries: Sequence[Legend], top: int) -> None:
        x: float = self._left
        colour = COLOURS[0]
        for entry in entries:
            box = (x, top, x + 36, top + 14)
            if entry.waiting:
                self.canvas.hatched(*box, colour)
            else:
                self.canvas.rectangle(*box, shade(colour) if entry.light else colour)
            if entry.broken:
                self.canvas.rectangle(x + 36 - _END, top, x + 36, top + 14, _INK)
            self.canvas.text(x + 44, top + 7, entry.text, 14, _INK, "lm")
            x += 44 + self.canvas.text_length(entry.text, 14) + 32


def _step(length: int) -> int:
    """A round number of nanoseconds, of which at most 16 fit in."""
    step = 1
    while step * 16 < length:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step
