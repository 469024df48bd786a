# SPDX-License-Identifier: MIT
"""What the user reads while something is being set up, and how a set-up step fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class SetupError(Exception):
    """Something cannot be set up; the message is one line for the user."""


def say(text: str) -> None:
    """Print a line of our own; standard output belongs to what runs in the guest."""
    sys.stdout.flush()
    print(f"guest: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say that `what` is being done and how long it took."""
    say(f"{what} ...")
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.0f} s")


def run(command: Sequence[str | Path], *, log: Path | None = None) -> None:
    """Run a set-up command, its output into `log` or else to the user's standard error.

    Raises SetupError when it cannot be started or fails; the log's end is printed before.
    """
    words = [str(word) for word in command]
    try:
        if log is None:
            status = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
        else:
            with log.open("wb") as file:
                status = subprocess.run(
                    words, stdin=subprocess.DEVNULL, stdout=file, stderr=file
                ).returncode
    except OSError as error:
        raise SetupError(f"cannot run {words[0]}: {error.strerror}") from error
    if status:
        if log is not None:
            sys.stderr.writelines(tail(log, 30))
        raise SetupError(f"{words[0]} failed with status {status}")


def tail(path: Path, lines: int) -> list[str]:
    """Return the last `lines` lines of a text file; none when it cannot be read."""
    try:
        text = path.read_bytes().decode(errors="replace").replace("\0", "")
    except OSError:
        return []
    return [f"{line}\n" for line in text.splitlines()[-lines:]]
