# SPDX-License-Identifier: MIT
"""dmabuf-sync status."""

from __future__ import annotations

from collections.abc import Sequence

import click

from . import uses
from .failure import say
from .output import emit, json_option, show
from .processes import complete_pid
from .tables import by_buffer, by_process
from .uses import Snapshot, Source, State, Use


@click.command("status")
@click.argument("buffers", nargs=-1, metavar="[BUFFER]...")
@click.option(
    "--by",
    type=click.Choice(["buffer", "process"]),
    default="buffer",
    show_default=True,
    help="What to sort by.",
)
@click.option(
    "--pid",
    type=int,
    multiple=True,
    metavar="PID",
    shell_complete=complete_pid,
    help="Only uses of this process.",
)
@click.option("--all", "idle", is_flag=True, help="Also buffers that are open and nobody uses.")
@json_option
def command(
    buffers: tuple[str, ...], by: str, pid: tuple[int, ...], idle: bool, as_json: bool
) -> None:
    """Show who holds and who waits for each buffer.

    A line for each use of a buffer, in the order of service; only of the BUFFERs named (by inode or
    name), if any are.

    \b
    BUFFER    inode and name of the dma-buf (ls -i, /proc/PID/fdinfo)
    HOLDER    process that has it
    WAITER    process that waits for it
    BLOCKER   the first of those that a waiter waits for
    MODE      what for: read, write; DMA: by a device
    RANGE     bytes, the last one included; W: and R: if only some are written
    AGE       since it was granted; of a waiter, since it asked
    DEADLINE  until it may be revoked once somebody wants the buffer;
              "overdue": that time is over
    HOW       fcntl, OFD (open file description), sync (a sync object),
              job (a DMA job), driver; with the sync object's name
    SIZE      of the buffer; EXPORTER: the driver that made it

    Lines are cut at the edge of a terminal, and whole in a pipe.

    As root everything is shown, from debugfs. A process that locked a buffer before the module was
    loaded is shown, too, with neither AGE nor DEADLINE until somebody waits for the buffer, from
    when its deadline counts.

    Other users, and kernels without the module, get the fcntl holders that /proc/locks has, with
    the names of those buffers that this user's own processes have open, and a line on standard
    error that says so: no waiters, sync objects, jobs, ages or deadlines.

    --json prints an object for each use: buffer {inode, resv, name, exporter, size}, state (held,
    granting: waits for fences or caches, leaving, waiting, idle), kind, dma, ranges [{write, start,
    end}], pid, comm, name, age_ms, deadline_ms, owner, access and blocker (as in the tracepoints),
    blocker_pid, blocker_comm, source.
    """
    found = uses.snapshot(idle=idle)
    chosen = [use for use in found.uses if _wanted(use, buffers, pid)]
    if by == "process":
        chosen.sort(key=lambda use: (use.pid, use.state is State.WAITING))
    if as_json:
        for use in chosen:
            emit({**vars(use), "source": found.source})
        return
    say_source(found)
    if chosen:
        show(by_process(chosen, found.uses) if by == "process" else by_buffer(chosen))


def _wanted(use: Use, buffers: Sequence[str], pids: Sequence[int]) -> bool:
    names = (str(use.buffer.inode), use.buffer.name)
    return (not buffers or any(name in names for name in buffers)) and (not pids or use.pid in pids)


def say_source(found: Snapshot) -> None:
    """Tell a person what a snapshot lacks."""
    if found.source is Source.PROC:
        say(
            f"{found.why}: shown are fcntl holders from /proc/locks; no waiters, sync objects,"
            " DMA jobs, ages or deadlines"
        )
