# SPDX-License-Identifier: MIT
"""dmabuf-sync manual: the man pages, made of what --help says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from .failure import PROGRAM
from .main import COMMANDS, cli, version
from .output import progress

_VERBATIM = "\b"
"""click's mark of a paragraph that keeps its lines."""


@click.command("manual")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Write the man pages into a folder.

    FOLDER gets man1/dmabuf-sync.1 and a page for each command, made of what --help says. With
    FOLDER in MANPATH, or as /usr/local/share/man, man(1) finds them.
    """
    pages = folder / "man1"
    pages.mkdir(parents=True, exist_ok=True)
    context = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    with progress("writing", len(COMMANDS) + 1) as done:
        (pages / f"{PROGRAM}.1").write_text(page(context))
        for name in COMMANDS:
            found = cli.get_command(context, name)
            assert found is not None
            inner = click.Context(found, info_name=name, parent=context)
            (pages / f"{PROGRAM}-{name}.1").write_text(page(inner))
            done(1)


def page(context: click.Context) -> str:
    """The man page of a command, in roff."""
    return "\n".join(line for part in _parts(context) for line in part) + "\n"


def _parts(context: click.Context) -> Iterator[list[str]]:
    made = context.command
    name = context.command_path.replace(" ", "-")
    paragraphs = inspect.cleandoc(made.help or "").split("\n\n")
    yield [f'.TH {roff(name.upper())} 1 "" "{roff(f"{PROGRAM} {version()}")}" "User Commands"']
    yield [".SH NAME", f"{roff(name)} \\- {roff(_summary(paragraphs[0]))}"]
    usage = " ".join(made.collect_usage_pieces(context))
    yield [".SH SYNOPSIS", f".B {roff(context.command_path)}", roff(usage)]
    # Of a command, the first paragraph is the summary.
    yield [".SH DESCRIPTION", *_text(paragraphs if made is cli else paragraphs[1:] or paragraphs)]
    # Arguments are told of in the text; from click 8.5 on they have records, too, which are empty.
    options = [
        record
        for parameter in made.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    if options:
        yield [".SH OPTIONS", *_definitions(options)]
    if made is cli:
        rows = [(f"{PROGRAM}-{key}(1)", row.help) for key, row in COMMANDS.items()]
        yield [".SH COMMANDS", *_definitions(rows)]
        yield [".SH ENVIRONMENT", *_definitions(_ENVIRONMENT)]
        yield [".SH FILES", *_definitions(_FILES)]
    else:
        yield [".SH SEE ALSO", f".BR {roff(PROGRAM)} (1)"]


_ENVIRONMENT = [
    ("DMABUF_SYNC_MODULES", "Folder with the kernel modules, as load --from."),
    ("DMABUF_SYNC_TRACEBACK", "If it is set, an unexpected error shows where it came from."),
    ("NO_COLOR", "If it is set, there are no colours."),
]
_FILES = [
    ("/dev/dmabuf_sync", "Timed locks and sync objects; of the module dmabuf_sync."),
    ("/sys/kernel/debug/dmabuf_sync", "Who holds and who waits; counters."),
    ("/sys/kernel/tracing/events/dmabuf_sync", "What happens."),
]


def _summary(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _text(paragraphs: list[str]) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        lines.append(".PP")
        if paragraph.startswith(_VERBATIM):
            kept = paragraph.split("\n")[1:]
            lines += [".nf", *(roff(line.rstrip()) for line in kept), ".fi"]
        else:
            lines.append(roff(" ".join(paragraph.split())))
    return lines


def _definitions(rows: list[tuple[str, str]]) -> list[str]:
    lines = []
    for term, text in rows:
        lines += [".TP", f".B {roff(term)}", roff(" ".join(text.split()))]
    return lines


def roff(text: str) -> str:
    """Text of which nothing is taken for markup."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"^([.'])", r"\\&\1", text)
