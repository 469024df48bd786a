# SPDX-License-Identifier: MIT
"""dmabuf-sync bench: what locks cost on this machine."""

from __future__ import annotations

import click

from .numbers import FiniteRange
from .output import console, emit, json_option, progress, table


@click.command("bench")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=9,
    show_default=True,
    metavar="NUMBER",
    help="How often to measure each; the fastest counts.",
)
@click.option(
    "--scale",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="FACTOR",
    help="Make rounds longer or shorter.",
)
@json_option
def command(rounds: int, scale: float, as_json: bool) -> None:
    """Measure what locks cost on this machine.

    Locking alone, many buffers, hand-over, a crowd, and DMA jobs, each beside what one would use
    without dmabuf-sync. RATIO is to the first row of a group, measured in turns with it; compare
    ratios, the times include what Python adds. Needs the modules dmabuf_sync, vdmabuf and vblit.
    """
    from .. import bench

    with progress("measuring", bench.total(rounds)) as done:
        rows = []
        for row in bench.run(rounds, scale, done):
            rows.append(row)
            if as_json:
                emit(row)
    if as_json:
        return
    printer = console()
    for group in dict.fromkeys(row.group for row in rows):
        made = table(group.upper(), "TIME", "RATIO", right=("TIME", "RATIO"))
        for row in rows:
            if row.group == group:
                made.add_row(row.name, f"{row.ns / 1000:.2f} µs", f"{row.ratio:.2f}")
        printer.print(made)
        printer.print()
