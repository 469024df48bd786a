# SPDX-License-Identifier: MIT
"""The command line: a table of commands, each imported when it is called."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import click
import click.shell_completion

from .failure import MEANINGS, PROGRAM, Status, mute, reported


class Row(NamedTuple):
    """Where a command is, and its line in --help."""

    module: str
    """In this folder; its ``command`` is the click.Command."""
    help: str


COMMANDS: dict[str, Row] = {
    "doctor": Row("doctor", "Tell what this kernel, machine and user can do."),
    "status": Row("status", "Show who holds and who waits for each buffer."),
    "top": Row("top", "Show holders, waiters and rates, live."),
    "lock": Row("lock", "Hold a lock on a process's dma-buf while a command runs."),
    "load": Row("load", "Load the kernel modules."),
    "unload": Row("unload", "Unload the kernel modules."),
    "record": Row("record", "Record who locks which buffer, and who waits."),
    "timeline": Row("timeline", "Draw a recording: for Perfetto, or as a picture."),
    "report": Row("report", "Report the longest waits and the most contended buffers."),
    "demo": Row("demo", "Let a camera, a DMA engine and the CPU share buffers."),
    "bench": Row("bench", "Measure what locks cost on this machine."),
    "stress": Row("stress", "Lock at random and check that nothing goes wrong."),
    "vm": Row("vm", "Run COMMAND in a virtual machine with the modules loaded."),
    "manual": Row("manual", "Write the man pages into a folder."),
    "completion": Row("completion", "Print what makes a shell complete dmabuf-sync."),
}

_STATUSES = "\n".join(f"  {status:3}  {meaning}" for status, meaning in MEANINGS.items())
_HELP = f"""\
Locks for dma-bufs: who holds them, who waits, and why.

A dma-buf is memory that processes and devices share. The kernel module dmabuf_sync lets
fcntl(2) lock it against processes and DMA alike. This command loads the modules, shows who holds
what, takes locks, and records what happens.

\b
Exit status:
{_STATUSES}
"""


class Commands(click.Group):
    """A group that imports a command when it is called, not to list it."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        row = COMMANDS.get(name)
        if row is None:
            return None
        found = importlib.import_module(f".{row.module}", __package__).command
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])

    def shell_complete(
        self, context: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        found = [
            click.shell_completion.CompletionItem(name, help=row.help)
            for name, row in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, context, incomplete)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with reported():
            return super().make_context(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        with reported():
            return super().invoke(context)


@click.command(cls=Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, option, value: _print_version(context) if value else None,
    help="Show the version and exit.",
)
def cli() -> None:
    pass


def _print_version(context: click.Context) -> None:
    click.echo(f"{PROGRAM} {version()}")
    context.exit()


def version() -> str:
    """The version that is installed; a checkout has none."""
    from importlib import metadata

    try:
        return metadata.version(PROGRAM)
    except metadata.PackageNotFoundError:
        return "(from a checkout)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    # Who has closed them wants to hear nothing; some libraries expect that they are there.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # there are terminals without an arrow or a µ
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)  # so that what was set up is taken down
    result = cli.main(arguments, PROGRAM, standalone_mode=False)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        mute()
        return Status.PIPE
    return result if isinstance(result, int) else Status.DONE


def _end(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)
