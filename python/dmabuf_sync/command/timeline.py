# SPDX-License-Identifier: MIT
"""dmabuf-sync timeline: a recording as a Perfetto trace or a picture."""

from __future__ import annotations

from pathlib import Path

import click

from ..trace import History, Recording, history_of, load
from .failure import Failure, Status, say
from .numbers import FiniteRange
from .output import progress

PERFETTO = (".pftrace", ".perfetto-trace")
PICTURES = (".png", ".svg")
_LIBRARIES = {"google": "protobuf", "PIL": "pillow"}


@click.command("timeline")
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write; its ending says what: .pftrace, .png or .svg.",
)
@click.option(
    "--from",
    "start",
    type=FiniteRange(min=0),
    metavar="SECONDS",
    help="Begin a picture so long after the recording's begin.",
)
@click.option(
    "--length",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How much of the recording a picture shows.",
)
def command(recording: Path, output: Path, start: float | None, length: float | None) -> None:
    """Draw a recording: for Perfetto, or as a picture.

    A .pftrace opens in https://ui.perfetto.dev, which keeps it in the browser: a track for each
    buffer, device and process, and arrows from a request to its grant. A .png or .svg is
    for a look or a document.

    \b
    dmabuf-sync timeline recording.dsync -o run.pftrace
    dmabuf-sync timeline recording.dsync -o run.svg --from 2 --length 0.1
    """
    suffix = output.suffix.lower()
    if suffix not in PERFETTO + PICTURES:
        raise click.UsageError("the output's name must end in .pftrace, .png or .svg")
    if suffix in PERFETTO and (start is not None or length is not None):
        raise click.UsageError("--from and --length are for pictures")
    with progress("drawing"):
        loaded = open_recording(recording)
        try:
            _draw(loaded, history_of(loaded.events), output, start or 0, length)
        except ImportError as error:
            name = _LIBRARIES.get((error.name or "").partition(".")[0], error.name)
            raise Failure(
                f"a {suffix} needs the Python library {name}",
                Status.MISSING,
                hint=f"python3 -m pip install {name}, or your distribution's package",
            ) from None
        except OSError as error:
            if not error.filename:  # a full disk, which write(2) cannot name
                error.filename = str(output)
            raise


def open_recording(path: Path) -> Recording:
    """Read a recording, and say on standard error if it is not whole."""
    loaded = load(path)
    if loaded.start and not loaded.complete:
        say(f"{path} was cut short: its end is missing")
    if loaded.lost:
        say(f"{path} lacks {loaded.lost} events that the kernel had no room for")
    if not loaded.events:
        raise Failure(f"{path} has no events: nobody locked a dma-buf")
    return loaded


def _draw(
    recording: Recording, told: History, output: Path, start: float, length: float | None
) -> None:
    if output.suffix.lower() in PERFETTO:
        from ..trace import perfetto

        output.write_bytes(perfetto.convert(recording, told))
    else:
        from ..trace import picture

        picture.save(recording, told, output, start=start, length=length)
