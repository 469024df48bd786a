# SPDX-License-Identifier: MIT
"""dmabuf-sync report: what a recording says of contention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..trace import history_of
from ..trace.report import Report, Wait, Waits, report
from .failure import printable
from .output import console, emit, json_option, progress, table
from .tables import KINDS
from .timeline import open_recording

_WAITS = ("WAITS", "TOTAL", "P50", "P90", "P99", "MAX")
_MOST_INCIDENTS = 20
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


@click.command("report")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--longest",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the longest waits to list.",
)
@json_option
def command(recording: Path, longest: int, as_json: bool) -> None:
    """Report the longest waits and the most contended buffers.

    Also who waited for whom (and who that one waited for), percentiles of the waits, and what was
    revoked or would have been a deadlock. TOTAL and percentiles are of those that had to wait at
    all; a process is BLOCKING while others wait and it is the last in their way.

    With --json: first an object of type "recording", then one for each "buffer", "process",
    "device", "wait" and "incident"; times in nanoseconds.
    """
    with progress("reading"):
        loaded = open_recording(recording)
        told = report(loaded, history_of(loaded.events), longest)
    if as_json:
        for record in _records(told):
            emit(record)
    else:
        _Printer(told).all()


def _records(told: Report) -> Iterator[dict[str, Any]]:
    lists: dict[str, Sequence[Any]] = {
        "buffer": told.buffers,
        "process": told.processes,
        "device": told.devices,
        "wait": told.longest,
        "incident": told.incidents,
    }
    whole = asdict(told)
    for name in ("buffers", "processes", "devices", "longest", "incidents"):
        del whole[name]
    yield {"type": "recording", **whole}
    for kind, rows in lists.items():
        for row in rows:
            yield {"type": kind, **asdict(row)}


def time_text(nanoseconds: int) -> str:
    """A duration with its unit, three digits or more."""
    size, unit = next((pair for pair in _UNITS if nanoseconds >= pair[0]), _UNITS[-1])
    value = nanoseconds / size
    digits = 0 if value >= 100 or size == 1 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def _waits(waits: Waits) -> tuple[str, ...]:
    if not waits.count:
        return ("0", *["-"] * 5)
    times = (waits.total_ns, waits.p50_ns, waits.p90_ns, waits.p99_ns, waits.max_ns)
    return (str(waits.count), *map(time_text, times))


class _Printer:
    """Prints a report for people."""

    def __init__(self, told: Report) -> None:
        self._told = told
        self._console = console()

    def all(self) -> None:
        told = self._told
        self._console.print(
            f"{told.seconds:.3f} s, {told.events} events: {told.requests} requests,"
            f" {told.waits.count} of them waited, {time_text(told.waits.total_ns)} in all"
        )
        self._buffers()
        self._processes()
        self._devices()
        self._longest()
        self._incidents()

    def _show(self, title: str, headings: tuple[str, ...], left: int, rows: list[Any]) -> None:
        """A table under a title; the first `left` columns are text, the others numbers."""
        if not rows:
            return
        made = table(*headings, right=headings[left:])
        for row in rows:
            made.add_row(*(printable(str(cell)) for cell in row))
        self._console.print()
        self._console.print(title, style="bold")
        self._console.print(made)

    def _buffers(self) -> None:
        headings = ("BUFFER", "USES", "HELD", *_WAITS, "REVOKED")
        rows = [
            (row.buffer, row.uses, self._share(row.held_ns), *_waits(row.waits), row.revoked)
            for row in self._told.buffers
        ]
        self._show("Buffers, the most contended first", headings, 1, rows)

    def _share(self, nanoseconds: int) -> str:
        return f"{nanoseconds / max(self._told.seconds * 1e7, 1):.0f}%"

    def _processes(self) -> None:
        headings = ("PROCESS", "REQUESTS", *_WAITS, "BLOCKING", "REVOKED", "DEADLOCKS")
        rows = [
            (
                row.process,
                row.requests,
                *_waits(row.waits),
                time_text(row.blocking_ns) if row.blocking_ns else "-",
                row.revoked,
                row.deadlocks,
            )
            for row in self._told.processes
        ]
        self._show("Processes", headings, 1, rows)

    def _devices(self) -> None:
        headings = ("DEVICE", "JOBS", "FAILED", "BUSY", *_WAITS)
        rows = [
            (row.device, row.jobs, row.failed, self._share(row.busy_ns), *_waits(row.waits))
            for row in self._told.devices
        ]
        self._show("Devices, and the waits of their jobs for the CPU", headings, 1, rows)

    def _longest(self) -> None:
        headings = ("WHO", "WANTED", "WAITED FOR", "AT", "WAITED")
        rows = [
            (
                wait.process,
                f"{KINDS.get(wait.kind, wait.kind)} {wait.mode} {wait.buffer}" + _others(wait),
                _chain(wait),
                f"{wait.at_ns / 1e9:.6f}",
                time_text(wait.waited_ns) + ("" if wait.outcome == "released" else "*"),
            )
            for wait in self._told.longest
        ]
        self._show("Longest waits", headings, 3, rows)
        for outcome in sorted({wait.outcome for wait in self._told.longest} - {"released"}):
            self._console.print(f"* {outcome}")

    def _incidents(self) -> None:
        headings = ("WHAT", "WHO", "BUFFER", "AT", "HELD")
        rows = [
            (
                row.what,
                row.process,
                f"{row.mode} {row.buffer}",
                f"{row.at_ns / 1e9:.6f}",
                time_text(row.held_ns) if row.held_ns else "-",
            )
            for row in self._told.incidents[:_MOST_INCIDENTS]
        ]
        self._show("Incidents", headings, 3, rows)
        more = len(self._told.incidents) - len(rows)
        if more:
            self._console.print(f"and {more} more, which --json lists")


def _others(wait: Wait) -> str:
    return f" (+{wait.buffers - 1})" if wait.buffers > 1 else ""


def _chain(wait: Wait) -> str:
    links = [f"{link.process} ({link.mode} {link.buffer})" for link in wait.chain]
    return " ← ".join(links) or "?"
