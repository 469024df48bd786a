# SPDX-License-Identifier: MIT
"""dmabuf-sync vm: run something in the test guest of a checkout."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from .failure import Failure, Status

_PACKAGE = Path(__file__).resolve()
_MARKS = ("Makefile", "scripts/guest/__main__.py", "kernel/dmabuf_sync")


@click.command("vm")
@click.option(
    "--kernel", metavar="NAME", help="6.1, 6.12 (the default), 7.2, rt, lockdep or kasan."
)
@click.option(
    "--share",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder to mount, read-only, at the same path.",
)
@click.option("--append", metavar="OPTIONS", help="More options for the kernel.")
@click.option(
    "--cpus",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="CPUs of the guest.  [default: 2]",
)
@click.option("--icount", is_flag=True, help="Let the guest's time count instructions.")
@click.option("--timeout", type=click.IntRange(min=1), metavar="SECONDS", help="Give it up then.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    kernel: str | None,
    share: Path | None,
    append: str | None,
    cpus: int | None,
    icount: bool,
    timeout: int | None,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND in a virtual machine with the modules loaded.

    For people with a checkout of dmabuf-sync: it does what `make vm CMD=COMMAND` does there. The
    machine you work on loads no module. COMMAND runs in the project's folder; if it is one word, a
    shell reads it. The exit status is that of COMMAND, 255 if the guest was lost.

    \b
    dmabuf-sync vm -- python3 -m pytest tests/system/test_queue.py
    dmabuf-sync vm --kernel 6.1 'uname -r; cat /proc/locks'
    """
    root = find_checkout(Path.cwd())
    values = {
        "CMD": command[0] if len(command) == 1 else shlex.join(command),
        "KERNEL": kernel,
        "SHARE": share and str(share.resolve()),
        "APPEND": append,
        "CPUS": cpus and str(cpus),
        "ICOUNT": "1" if icount else None,
        "TIMEOUT": timeout and str(timeout),
    }
    env = {name: value for name, value in os.environ.items() if name not in values}
    env |= {name: value for name, value in values.items() if value}
    env |= {"PYTHONPATH": str(root / "scripts"), "PYTHONDONTWRITEBYTECODE": "1"}
    os.chdir(root)
    os.execve(sys.executable, [sys.executable, "-m", "guest", "vm"], env)


def find_checkout(start: Path) -> Path:
    """The checkout that `start` is in, or else the one that this file is in; Failure if neither."""
    for folder in (start, *start.parents, *_PACKAGE.parents):
        if all((folder / mark).exists() for mark in _MARKS):
            return folder
    raise Failure(
        "vm needs a checkout of dmabuf-sync, and there is none here",
        Status.MISSING,
        hint="get the sources, and call it in their folder",
    )
