# SPDX-License-Identifier: MIT
"""dmabuf-sync top."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from . import uses
from .numbers import FiniteRange
from .output import Cut, console, emit, json_option, show, table
from .rates import Rates, Sample, Waits
from .status import say_source
from .tables import by_buffer, duration, holder, label
from .uses import Buffer, Snapshot, State

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Row:
    """A buffer during one interval."""

    buffer: Buffer
    holders: int
    waiters: int
    oldest_wait_ms: int | None
    """Of those that wait now."""
    grants_per_second: float
    wait_ns: dict[str, int | None]
    """p50, p90, p99 and max of the waits that ended, rounded up to powers of two."""
    revokes: int
    deadlocks: int


@dataclass(frozen=True)
class Screen:
    """All that is shown at a time."""

    taken: Snapshot
    sample: Sample
    rows: tuple[Row, ...]
    detail: bool


@click.command("top")
@click.option(
    "-d",
    "--interval",
    type=FiniteRange(min=0.05),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between updates, over which rates and waits are counted.",
)
@click.option(
    "-n", "--count", type=click.IntRange(min=1), metavar="NUMBER", help="End after NUMBER updates."
)
@click.option("--once", is_flag=True, help="As -n 1.")
@json_option
def command(interval: float, count: int | None, once: bool, as_json: bool) -> None:
    """Show holders, waiters and rates, live.

    Above, a line for each buffer that is used, or was in the last interval, the busiest first.
    Below, who holds and who waits now, as in dmabuf-sync status. Ctrl-C ends it.

    \b
    GRANTS/s  how often somebody got the buffer
    HELD      uses that hold it now; WAIT: that wait for it now
    OLDEST    how long the first of those has waited
    P50 P90 P99 MAX
              how long those who got it had waited, rounded up to a power of two
    REVOKED   holds taken away because they were overdue and somebody waited
    DEADLOCK  requests that would have closed a cycle

    As root the numbers come from histograms that the kernel keeps on the tracepoints, in a tracing
    instance of this program's own; nothing else that is traced is disturbed. Other users see the
    fcntl holders from /proc/locks and no rates.

    --json prints an object for each update: time (seconds since 1970), seconds, source, detail
    (whether there are rates), totals (counts of the module), buffers (the lines above) and uses (as
    status --json).
    """
    with contextlib.suppress(KeyboardInterrupt), Rates() as rates:
        updates = _updates(rates, interval, 1 if once else count)
        if as_json:
            for screen in updates:
                emit(record(screen))
        elif sys.stdout.isatty() and not once and count != 1:
            _live(updates)
        else:
            for number, screen in enumerate(updates):
                if number == 0:
                    say_source(screen.taken)
                else:
                    click.echo()
                show(render(screen))
                sys.stdout.flush()


def _updates(rates: Rates, interval: float, count: int | None) -> Iterator[Screen]:
    known: dict[int, Buffer] = {}
    done = 0
    while count is None or done < count:
        time.sleep(interval)
        taken = uses.snapshot()
        sample = rates.sample()
        rows = make_rows(taken, sample, known, lambda: list(uses.open_buffers().values()))
        yield Screen(taken, sample, rows, rates.detail)
        done += 1


def _live(updates: Iterator[Screen]) -> None:
    from rich.live import Live

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        for screen in updates:
            live.update(Cut(render(screen)), refresh=True)


def make_rows(
    taken: Snapshot,
    sample: Sample,
    known: dict[int, Buffer],
    find: Callable[[], Sequence[Buffer]],
) -> tuple[Row, ...]:
    """The buffers, busiest first; `known` keeps their names, `find` looks for more."""
    known.update((use.buffer.inode, use.buffer) for use in taken.uses)
    inodes = {use.buffer.inode for use in taken.uses}
    inodes |= {*sample.waits, *sample.revokes, *sample.deadlocks}
    if inodes - known.keys():
        known.update((buffer.inode, buffer) for buffer in find())
    rows = []
    for inode in inodes:
        mine = [use for use in taken.uses if use.buffer.inode == inode]
        waiting = [use.age_ms or 0 for use in mine if use.state is State.WAITING]
        waits = sample.waits.get(inode, Waits())
        quantiles = {f"p{percent}": waits.percentile(percent) for percent in PERCENTILES}
        rows.append(
            Row(
                buffer=known.setdefault(inode, Buffer(inode, "", "", "", 0)),
                holders=len(mine) - len(waiting),
                waiters=len(waiting),
                oldest_wait_ms=max(waiting, default=None),
                grants_per_second=round(waits.total / sample.seconds, 1),
                wait_ns={**quantiles, "max": waits.percentile(100)},
                revokes=sample.revokes[inode],
                deadlocks=sample.deadlocks[inode],
            )
        )
    return tuple(
        sorted(rows, key=lambda row: (-row.grants_per_second, -row.waiters, row.buffer.inode))
    )


def record(screen: Screen) -> dict[str, Any]:
    """An update for JSON."""
    return {
        "time": round(time.time(), 3),
        "seconds": round(screen.sample.seconds, 3),
        "source": screen.taken.source,
        "detail": screen.detail,
        "totals": dict(screen.sample.totals),
        "buffers": screen.rows,
        "uses": screen.taken.uses,
    }


# -- what people see


def render(screen: Screen) -> Group:
    """Header, buffers and uses."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(header(screen), style="bold")]
    if screen.rows:
        parts += ["", _buffers(screen)]
    if screen.taken.uses:
        parts += ["", by_buffer(screen.taken.uses)]
    return Group(*parts)


def header(screen: Screen) -> str:
    """Time, and what the whole module did."""
    words = [time.strftime("%H:%M:%S")]
    held = sum(use.state is not State.WAITING for use in screen.taken.uses)
    words.append(f"{held} held, {len(screen.taken.uses) - held} waiting")
    totals = screen.sample.totals
    for name in ("requests", "grants", "job_starts"):
        rate = totals[name] / screen.sample.seconds
        if totals[name]:
            words.append(f"{rate:.0f} {name.replace('job_starts', 'jobs')}/s")
    if totals["revokes"]:
        words.append(f"{totals['revokes']} revoked")
    if totals["deadlocks"]:
        words.append(f"{totals['deadlocks']} in a deadlock")
    if not screen.detail:
        words.append(f"no rates: {'no tracepoints' if os.geteuid() == 0 else 'root only'}")
    return "   ".join(words)


def _buffers(screen: Screen) -> Table:
    from rich.text import Text

    numbers = ("GRANTS/s", "HELD", "WAIT", "OLDEST", "P50", "P90", "P99", "MAX")
    made = table(
        "BUFFER",
        *numbers,
        "REVOKED",
        "DEADLOCK",
        "HOLDER",
        right=(*numbers, "REVOKED", "DEADLOCK"),
    )
    for row in screen.rows:
        waits = [_short(row.wait_ns[key]) for key in ("p50", "p90", "p99", "max")]
        made.add_row(
            label(row.buffer),
            f"{row.grants_per_second:.0f}" if screen.detail else "",
            str(row.holders or ""),
            Text(str(row.waiters or ""), style="yellow"),
            "" if row.oldest_wait_ms is None else duration(row.oldest_wait_ms),
            *waits,
            Text(str(row.revokes or ""), style="red"),
            Text(str(row.deadlocks or ""), style="red"),
            holder(screen.taken.uses, row.buffer),
        )
    return made


def _short(nanoseconds: int | None) -> str:
    """A wait in as few characters as tell it."""
    if nanoseconds is None:
        return ""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if nanoseconds >= size:
            return (
                f"{nanoseconds / size:.2g}{unit}"
                if nanoseconds < 100 * size
                else (f"{nanoseconds / size:.0f}{unit}")
            )
    return f"{nanoseconds}ns"
