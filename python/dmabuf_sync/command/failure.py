# SPDX-License-Identifier: MIT
"""Failures: the exit status and the one sentence that a user gets."""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import sys
from collections.abc import Iterator

import click

PROGRAM = "dmabuf-sync"
TRACEBACK = "DMABUF_SYNC_TRACEBACK"
"""Environment variable: let exceptions through."""


class Status(enum.IntEnum):
    """Exit statuses."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    DENIED = 4
    REVOKED = 5
    BUG = 70
    INTERRUPTED = 130
    PIPE = 141
    TERMINATED = 143


MEANINGS = {
    Status.DONE: "done",
    Status.FAILED: "it did not work; one line on standard error says why",
    Status.USAGE: "wrong usage",
    Status.MISSING: "this machine lacks something: see dmabuf-sync doctor",
    Status.DENIED: "this user may not do that",
    Status.REVOKED: "a lock was taken away before its time: what was done is not protected",
    Status.BUG: "a bug of this program",
    Status.INTERRUPTED: "interrupted (Ctrl-C)",
    Status.PIPE: "nobody reads the output any more",
    Status.TERMINATED: "terminated (SIGTERM)",
}

_BY_ERRNO = {
    errno.EPERM: Status.DENIED,
    errno.EACCES: Status.DENIED,
    errno.ENODEV: Status.MISSING,
    errno.ENXIO: Status.MISSING,
    errno.ENOSYS: Status.MISSING,
    errno.EOPNOTSUPP: Status.MISSING,
}


class Failure(click.ClickException):
    """Ends the command with a sentence, and perhaps a second one that says how to mend it."""

    def __init__(self, message: str, status: Status = Status.FAILED, *, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.status = status


def say(message: str) -> None:
    """Put a message on standard error, each line with the program's name in front."""
    for line in message.split("\n"):
        click.echo(f"{PROGRAM}: {printable(line)}", err=True)


def printable(text: str) -> str:
    """Names are chosen by users: no control character reaches the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def sentence(error: BaseException) -> str:
    """What to tell a user about an exception, without its type and errno's number."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    notes: list[str] = getattr(error, "__notes__", [])
    return "; ".join([text or type(error).__name__, *notes])


def status(error: BaseException) -> Status:
    """The exit status for an exception."""
    if isinstance(error, ImportError):
        return Status.MISSING
    if not isinstance(error, OSError):
        return Status.FAILED
    if error.errno == errno.ENOENT and str(error.filename).startswith(("/dev/", "/sys/")):
        return Status.MISSING
    return _BY_ERRNO.get(error.errno or 0, Status.FAILED)


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turn every exception into a line on standard error and click's Exit."""
    try:
        yield
    except (click.exceptions.Exit, SystemExit):
        raise
    except click.UsageError as error:
        error.show()
        raise click.exceptions.Exit(Status.USAGE) from None
    except click.ClickException as error:
        say(error.format_message())
        code = error.status if isinstance(error, Failure) else error.exit_code
        raise click.exceptions.Exit(code) from None
    except (KeyboardInterrupt, click.Abort):
        raise click.exceptions.Exit(Status.INTERRUPTED) from None
    except BrokenPipeError:
        mute()
        raise click.exceptions.Exit(Status.PIPE) from None
    except (OSError, ValueError, ImportError) as error:
        if os.environ.get(TRACEBACK):
            raise
        say(sentence(error))
        raise click.exceptions.Exit(status(error)) from None
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        say(f"a bug: {type(error).__name__}: {error}; {TRACEBACK}=1 shows where")
        raise click.exceptions.Exit(Status.BUG) from None


def mute() -> None:
    """Let Python's last flush of standard output go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
