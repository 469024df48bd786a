# SPDX-License-Identifier: MIT
"""A history as a picture: rows for buffers, devices and processes."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from .canvas import Canvas, PixelCanvas, VectorCanvas
from .chart import Bar, Legend, Panel, Row, draw
from .history import History, Outcome, Use
from .names import Names
from .recording import Recording

SUFFIXES = (".png", ".svg")
_MOST_ROWS = 40  # of a panel
_LEGEND = (
    Legend("writes, or a job runs"),
    Legend("reads", light=True),
    Legend("waits; the colour is the process", waiting=True),
    Legend("revoked, or refused as a deadlock", broken=True),
)


def save(
    recording: Recording,
    history: History,
    path: str | os.PathLike[str],
    *,
    start: float = 0,
    length: float | None = None,
) -> None:
    """Draw `length` seconds from `start` (both since the recording began) into a .png or .svg.

    ValueError when there is nothing in that time, ImportError when a .png needs Pillow.
    """
    begin = history.start + round(start * 1e9)
    rest = history.end - begin
    span = rest if length is None else min(round(length * 1e9), rest)
    if span <= 0:
        raise ValueError("nothing was recorded in that time")
    canvas = VectorCanvas if Path(path).suffix == ".svg" else PixelCanvas
    drawing: Canvas = draw(_Rows(recording, history).panels(begin, span), _LEGEND, canvas)
    drawing.save(path)


class _Rows:
    """Makes the rows of a history."""

    def __init__(self, recording: Recording, history: History) -> None:
        self._history = history
        self._names = Names(recording, history)
        self._command = " ".join(recording.start.get("command", [])) or "dmabuf-sync"
        pids = sorted({use.pid for use in history.uses})
        self._colours = {pid: number for number, pid in enumerate(pids)}

    def panels(self, start: int, length: int) -> list[Panel]:
        """One panel each for buffers, devices and processes, of what has something to show."""
        end = start + length
        groups = {
            f"Buffers: {self._command}": self._buffers(),
            "Devices": self._devices(),
            "Processes": self._processes(),
        }
        panels = []
        for title, rows in groups.items():
            shown = [
                row for row in rows if any(bar.start < end and bar.end > start for bar in row.bars)
            ]
            if len(shown) > _MOST_ROWS:
                title = f"{title} (the {_MOST_ROWS} busiest of {len(shown)})"
                shown = _busiest(shown)
            if shown:
                panels.append(Panel(title, shown, start, length, self._history.start))
        return panels

    def _bar(self, use: Use, label: str, tip: str, *, waiting: bool) -> Bar:
        start, end = use.granted, use.held_until(self._history.end)
        if waiting:
            start, end = use.waited_from, end if use.granted is None else use.granted
        assert start is not None
        tip = f"{tip}: {'waits' if waiting else 'holds'} {_duration(end - start)}"
        light = not waiting and not use.mode.startswith("W")
        broken = use.outcome is (Outcome.DEADLOCK if waiting else Outcome.REVOKED)
        if broken:
            tip = f"{tip}, {use.outcome.value}"
        return Bar(start, end, self._colours[use.pid], label, waiting, light, tip, broken)

    def _bars(self, use: Use, label: str) -> list[Bar]:
        tip = self._names.use(use)
        bars = []
        if use.waited_from is not None:
            bars.append(self._bar(use, label, tip, waiting=True))
        if use.granted is not None and not use.merged:
            bars.append(self._bar(use, label, tip, waiting=False))
        return bars

    def _buffers(self) -> list[Row]:
        rows = {ino: Row(self._names.buffer(ino)) for ino in self._names.inodes()}
        for use in self._history.uses:
            label = f"{use.pid or 'kernel'} DMA" if use.dma else self._names.pid_first(use.pid)
            rows[use.ino].bars += self._bars(use, label)
        return list(rows.values())

    def _devices(self) -> list[Row]:
        rows: dict[str, Row] = {}
        for job in self._history.jobs:
            row = rows.setdefault(job.device, Row(job.device))
            if job.started is None or job.request is None:
                continue
            end = self._history.end if job.ended is None else job.ended
            tip = f"{self._names.job(job)}: {_duration(end - job.started)}"
            colour = self._colours.get(job.request.pid, 0)
            row.bars.append(Bar(job.started, end, colour, self._names.job(job), tip=tip))
        return list(rows.values())

    def _processes(self) -> list[Row]:
        rows: dict[int, Row] = defaultdict(lambda: Row(""))
        for use in self._history.uses:
            row = rows[use.pid]
            row.label = self._names.process(use.pid)
            bars = self._bars(use, self._names.buffer(use.ino))
            # What a job holds is not held by its process.
            row.bars += [bar for bar in bars if bar.waiting or use.kind != "job"]
        return [rows[pid] for pid in sorted(rows)]


def _busiest(rows: list[Row]) -> list[Row]:
    """Those with the longest bars, in the order they had."""

    def busy(row: Row) -> int:
        return sum(bar.end - bar.start for bar in row.bars)

    least = sorted(map(busy, rows), reverse=True)[_MOST_ROWS - 1]
    return [row for row in rows if busy(row) >= least][:_MOST_ROWS]


def _duration(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f} ms"
