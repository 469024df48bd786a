# SPDX-License-Identifier: MIT
"""dmabuf-sync record: what happens to all dma-bufs, into a file."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import click

from ..trace.capture import INTERVAL, Capture
from ..trace.tracefs import BUFFER_KB
from .failure import Failure, Status, say
from .numbers import FiniteRange
from .output import emit, json_option, progress

DEFAULT = "recording.dsync"
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


@click.command("record")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="The file to write; compressed if its name ends in .gz.",
)
@click.option(
    "--duration",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop recording after that time. A command goes on to its end.",
)
@click.option(
    "--buffer-size",
    type=click.IntRange(min=64),
    default=BUFFER_KB,
    show_default=True,
    metavar="KIB",
    help="The kernel's buffer, for each CPU.",
)
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(
    output: Path, duration: float | None, buffer_size: int, as_json: bool, command: tuple[str, ...]
) -> int:
    """Record who locks which buffer, and who waits.

    Everything that any process or device does with dma-buf locks is recorded while COMMAND runs,
    or until Ctrl-C. The exit status is that of COMMAND. `timeline` and `report` read the file; so
    does a text editor. Needs root. Other tracing of the machine is not disturbed.

    \b
    dmabuf-sync record -o run.dsync -- python3 program.py
    dmabuf-sync record --duration 10
    """
    try:
        # Signals first: from when there is a file, they end it well.
        with (
            _stopped_by_signals() as stopped,
            Capture(str(output), list(command), buffer_kb=buffer_size) as capture,
        ):
            with _Program(command) as program:
                _watch(capture, program, stopped, duration)
                capture.finish(program.status)
            status = program.wait()
    except PermissionError as error:
        raise Failure(
            f"cannot record: {error.filename or 'tracefs'}: {error.strerror}",
            Status.DENIED,
            hint="recording needs root",
        ) from None
    if capture.lost:
        say(f"{capture.lost} events were lost: --buffer-size {buffer_size * 4} may be enough")
    if as_json:
        events, lost = capture.events, capture.lost
        emit({"file": str(output), "events": events, "lost": lost, "status": status})
    else:
        say(f"{capture.events} events in {output}")
    return status or 0


class _Program:
    """The command, if there is one: started, and waited for at the end."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if not words:
            return
        try:
            self._process = subprocess.Popen(words)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            say(f"{words[0]}: {error.strerror}")
            raise click.exceptions.Exit(_NOT_FOUND if missing else _NOT_EXECUTABLE) from None

    def __enter__(self) -> _Program:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.end()

    def end(self) -> None:
        """Ask it to end, if it still runs."""
        if self._process:
            self._process.terminate()

    @property
    def exists(self) -> bool:
        return self._process is not None

    @property
    def status(self) -> int | None:
        """As a shell tells it, 128 and the number of a signal; None while it runs."""
        code = self._process.poll() if self._process else None
        return 128 - code if code is not None and code < 0 else code

    def wait(self) -> int | None:
        """The status, when it has one."""
        if self._process:
            self._process.wait()
        return self.status


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """A list that gets the signals that ask to stop. A command gets Ctrl-C from the terminal."""
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda got, _: seen.append(got)) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(
    capture: Capture, program: _Program, stopped: list[int], duration: float | None
) -> None:
    start = time.monotonic()
    # A bar would be drawn across what the command prints.
    bar = contextlib.nullcontext(_ignore) if program.exists else progress("recording", duration)
    with bar as advance:
        last = start
        while not (stopped if not program.exists else program.status is not None):
            if signal.SIGTERM in stopped or signal.SIGHUP in stopped:
                program.end()
                return
            capture.pump()
            now = time.monotonic()
            if duration is not None and now - start >= duration:
                return
            advance(now - last)
            last = now
            time.sleep(INTERVAL)


def _ignore(done: float) -> None:
    """Progress that nobody watches."""
