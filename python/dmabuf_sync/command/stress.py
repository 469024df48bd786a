# SPDX-License-Identifier: MIT
"""dmabuf-sync stress: random load, with everything checked."""

from __future__ import annotations

import random

import click

from .failure import Failure, Status, say
from .numbers import FiniteRange
from .output import console, emit, json_option, progress, table


@click.command("stress")
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="What is done.  [default: another one]",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    metavar="NUMBER",
    help="How many lock at the same time.",
)
@click.option(
    "--buffers",
    type=click.IntRange(1, 256),
    default=3,
    show_default=True,
    metavar="NUMBER",
    help="How many they share.",
)
@click.option(
    "--replay/--no-replay",
    default=True,
    help="Check every event against the rules, which needs root.  [default: replay]",
)
@json_option
def command(
    seconds: float, seed: int | None, processes: int, buffers: int, replay: bool, as_json: bool
) -> None:
    """Lock at random and check that nothing goes wrong.

    Processes take fcntl locks and sync objects, queue DMA jobs and are killed now and then. The
    data of a buffer must not change while it is locked, and all that the kernel tells of it
    must follow the rules of docs/algorithm.md. The buffers are new ones that nobody else has. Needs
    the modules dmabuf_sync, vdmabuf and vblit. Exit status 1 when something was wrong.
    """
    from .. import stress

    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    try:
        with progress("locking", seconds) as done:
            outcome = stress.run(
                seconds, seed, processes=processes, buffers=buffers, replay=replay, done=done
            )
    except PermissionError as error:
        if str(error.filename).startswith("/dev/"):
            raise
        raise Failure(
            f"{error.filename or 'tracefs'}: {error.strerror}",
            Status.DENIED,
            hint="the replay needs root; --no-replay does without",
        ) from None
    if as_json:
        emit(outcome)
    else:
        _print(outcome.seconds, seed, outcome.counts, outcome.events)
    if outcome.problems:
        for problem in dict.fromkeys(outcome.problems):
            say(problem)
        raise Failure(f"seed {seed} found {len(outcome.problems)} problems")


def _print(
    seconds: float, seed: int, counts: dict[str, int], events: dict[str, int]
) -> None:
    printer = console()
    printer.print(f"seed {seed}, {seconds:.1f} s")
    printer.print()
    for title, rows in (("DONE", counts), ("EVENTS REPLAYED", events)):
        if rows:
            made = table(title, "COUNT", right=("COUNT",))
            for name, count in sorted(rows.items()):
                made.add_row(name, str(count))
            printer.print(made)
            printer.print()
