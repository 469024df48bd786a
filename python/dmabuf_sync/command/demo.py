# SPDX-License-Identifier: MIT
"""dmabuf-sync demo: the main job."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import click

from .failure import Failure, Status, say
from .output import emit, json_option


@click.command("demo")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="dmabuf-sync-demo",
    show_default=True,
    help="The folder for pictures and results.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=2),
    default=150,
    show_default=True,
    metavar="NUMBER",
    help="How many to take, with locks and without.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="NUMBER",
    help="How often each of the two tasks that would deadlock takes its buffers.",
)
@click.option(
    "--width",
    type=click.IntRange(min=16),
    default=640,
    show_default=True,
    metavar="NUMBER",
    help="Pixels of a line.",
)
@click.option(
    "--height",
    type=click.IntRange(min=16),
    default=360,
    show_default=True,
    metavar="NUMBER",
    help="Lines of a frame.",
)
@json_option
def command(
    output: Path, frames: int, rounds: int, width: int, height: int, as_json: bool
) -> int:
    """Let a camera, a DMA engine and the CPU share buffers.

    Once each waiting for the one before, once with locks, and once without any, to see frames torn.
    Then two tasks that would deadlock, and a lock whose holder is killed. Pictures, among them a
    timeline of both ways, go into a folder. Needs vivid (the kernel's virtual camera), the modules
    dmabuf_sync, vdmabuf and vblit, the Python libraries numpy and Pillow, and root.

    --json prints what results.json has, an object, and the words for people on standard error.

    Exit status 1 when a frame that was locked was torn, or another part did not do what it must.
    """
    try:
        from ..demo.__main__ import run
    except ImportError as error:
        raise Failure(
            f"the demo needs the Python library {error.name}",
            Status.MISSING,
            hint="python3 -m pip install 'dmabuf-sync[demo]', or your distribution's package",
        ) from None
    arguments = [f"--output={output}", f"--frames={frames}", f"--rounds={rounds}"]
    arguments += [f"--width={width}", f"--height={height}"]
    problems: list[str] = []
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        try:
            run(arguments, problems)
        except (LookupError, subprocess.CalledProcessError) as error:
            raise Failure(str(error)) from None
    for problem in problems:
        say(problem)
    if as_json:
        emit(json.loads((output / "results.json").read_text()))
    return Status.FAILED if problems else Status.DONE
