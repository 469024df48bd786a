# SPDX-License-Identifier: MIT
"""Output: tables for people, JSON lines for programs, progress bars for who watches."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = 1.0
"""Seconds until a progress bar appears."""
_WIDE = 10_000


def json_option(function: F) -> F:
    """Adds --json, the argument ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one object a line, and nothing else."
    )(function)


def emit(record: object) -> None:
    """Print a dataclass or a dict as a line of JSON, at once: somebody may follow the stream."""
    click.echo(json.dumps(record, default=_plain, separators=(", ", ": ")))
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return (value.name or str(value)).lower()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON for {value!r}")


def console(*, stderr: bool = False) -> Console:
    """A rich console. In a pipe lines are as long as they need to be, never cut or wrapped."""
    from rich.console import Console

    class Honest(Console):
        """Rich would end with a status of its own."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Honest(file=stream, width=width, highlight=False, markup=False, soft_wrap=False)


class Cut:
    """Something rich can render, as wide as it wants to be and cut at the terminal's edge.

    Rich itself would take from all columns of a table until none can be read.
    """

    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType | Segment]:
        from rich.segment import Segment

        free = options.update(width=_WIDE)
        for line in console.render_lines(self._renderable, free, pad=False):
            yield from Segment.adjust_line_length(line, options.max_width, pad=False)
            yield Segment.line()


def show(renderable: RenderableType) -> None:
    """Print what rich can render; in a pipe whole, but without the blanks that fill a table up."""
    out = console()
    if out.is_terminal:
        out.print(Cut(renderable))
        return
    with out.capture() as captured:
        out.print(renderable)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without frames, as lslocks(8) prints one; columns in `right` are numbers."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        made.add_column(heading, justify="right" if heading in right else "left", no_wrap=True)
    return made


@contextlib.contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
    """Gives a function to call with how much was done since the last call.

    The bar is on standard error, for a person only, and only for what takes more than a second;
    without `total` it says that something is going on. What is printed meanwhile comes above it.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.progress import Progress

    # What goes into a pipe is no business of rich's, which would put it on standard error.
    bar = Progress(
        console=console(stderr=True),
        transient=True,
        refresh_per_second=4,
        redirect_stdout=sys.stdout.isatty(),
    )
    task = bar.add_task(what, total=total)
    timer = threading.Timer(PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done: bar.advance(task, done)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
