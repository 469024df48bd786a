# SPDX-License-Identifier: MIT
"""dmabuf-sync lock."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence

import click

from .. import Access, Control, DmaBuf, LockRevoked
from .._system import pidfd_getfd
from .failure import Failure, Status, say
from .numbers import MOST, FiniteRange
from .output import progress
from .processes import DMA_BUF, comm, complete_pid, open_files
from .tables import process

NOT_EXECUTABLE, NOT_FOUND = 126, 127
PTRACE_SCOPE = "/proc/sys/kernel/yama/ptrace_scope"


@click.command("lock", context_settings={"allow_interspersed_args": False})
@click.option(
    "--pid",
    type=click.IntRange(1, MOST),
    required=True,
    metavar="PID",
    shell_complete=complete_pid,
    help="Process that has it open.",
)
@click.option(
    "--fd",
    type=click.IntRange(0, MOST),
    required=True,
    metavar="FD",
    help="Its file descriptor of the dma-buf.",
)
@click.option("--write/--read", default=True, help="Keep everybody out (default), or writers only.")
@click.option(
    "--timeout",
    type=FiniteRange(min=0),
    metavar="SECONDS",
    help="Wait no longer than this for the lock.",
)
@click.option("-n", "--nonblock", is_flag=True, help="Do not wait for the lock.")
@click.option(
    "-E",
    "--conflict-exit-code",
    "conflict_status",
    type=click.IntRange(0, 255),
    default=1,
    show_default=True,
    metavar="NUMBER",
    help="Exit status if -n or --timeout ends the wait.",
)
@click.option(
    "--hold",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long the lock is safe from others who want it.  [default: the module's]",
)
@click.option(
    "--offset", type=click.IntRange(min=0), default=0, metavar="BYTES", help="First byte to lock."
)
@click.option(
    "--length",
    type=click.IntRange(min=0),
    default=0,
    metavar="BYTES",
    help="Bytes to lock.  [default: all to the end]",
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
def command(
    pid: int,
    fd: int,
    write: bool,
    timeout: float | None,
    nonblock: bool,
    conflict_status: int,
    hold: float | None,
    offset: int,
    length: int,
    words: tuple[str, ...],
) -> int:
    """Hold a lock on a process's dma-buf while a command runs.

    As flock(1) does for files: takes a lock on the dma-buf that process PID has open as descriptor
    FD, runs COMMAND, and unlocks. Nobody else has the buffer meanwhile: no process that locks it,
    and no device of a driver that uses dmabuf_sync. Processes that do not lock are not kept out.

    Needs the right to look into the process (the same user and ptrace(2), or root). Without the
    kernel module only those who use fcntl(2) locks are kept out, and --timeout and --hold do not
    work.

    Exit status: that of COMMAND, 128 more than the number of the signal that killed it, 127 if it
    was not found, 126 if it cannot be run. 5 if the lock was taken away while COMMAND ran and that
    succeeded: others used the buffer meanwhile. Else, and with -E, as for every dmabuf-sync
    command.

    \b
    Example: look at a frame while nobody draws it
      dmabuf-sync status --by process
      dmabuf-sync lock --pid 1234 --fd 17 --read -- ./dump-frame 1234 17
    """
    if nonblock and timeout is not None:
        raise click.UsageError("-n does not wait, so it can have no --timeout")
    access = Access.WRITE if write else Access.READ
    with _taken(pid, fd) as buffer:
        if write and not buffer.writable:
            raise Failure(
                f"descriptor {fd} of process {pid} is open for reading only",
                hint="lock it with --read",
            )
        if not os.path.exists(Control.PATH):
            say("the module dmabuf_sync is not loaded: keeps out other fcntl(2) locks only")
        try:
            with progress("waiting for the lock"):
                buffer.lock(
                    access,
                    timeout=timeout,
                    blocking=not nonblock,
                    offset=offset,
                    length=length,
                    hold=hold,
                )
        except LockRevoked:
            raise
        except (BlockingIOError, TimeoutError):
            say(_conflict(buffer, access, offset, length, f"descriptor {fd} of process {pid}"))
            return conflict_status
        return _run_locked(buffer, words, offset, length)


@contextlib.contextmanager
def _taken(pid: int, fd: int) -> Iterator[DmaBuf]:
    try:
        ours = pidfd_getfd(pid, fd)
    except ProcessLookupError:
        raise Failure(f"there is no process {pid}") from None
    except PermissionError:
        raise Failure(
            f"process {pid} ({comm(pid)}) does not let this user take its descriptors",
            Status.DENIED,
            hint=_permission_hint(),
        ) from None
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        raise Failure(f"process {pid} has no descriptor {fd}", hint=_others(pid)) from None
    try:
        buffer = DmaBuf(ours)
    except OSError as error:
        os.close(ours)
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
        raise Failure(
            f"descriptor {fd} of process {pid} is no dma-buf", hint=_others(pid)
        ) from None
    with buffer:
        yield buffer


def _permission_hint() -> str:
    try:
        with open(PTRACE_SCOPE) as file:
            scope = file.read().strip()
    except OSError:
        scope = "0"
    if scope != "0":
        return f"only root may: kernel.yama.ptrace_scope is {scope}"
    return "it is another user's, or has raised its rights: only root may"


def _others(pid: int) -> str:
    found = [
        f"{file.fd} {file.link.removeprefix(DMA_BUF)}".rstrip()
        for file in open_files(pid)
        if file.link.startswith(DMA_BUF)
    ]
    return f"its dma-bufs: {', '.join(found)}" if found else "it has no dma-buf open"


def _conflict(buffer: DmaBuf, access: Access, offset: int, length: int, what: str) -> str:
    who = buffer.test(access, offset=offset, length=length)
    if who is None:
        return f"{what} is in use"
    if who.pid < 0:
        return f"{what} is locked by a driver or an open file description"
    return f"{what} is locked by process {process(who.pid, comm(who.pid))}"


def _run_locked(buffer: DmaBuf, words: Sequence[str], offset: int, length: int) -> int:
    status = _run(words)
    try:
        buffer.unlock(offset, length)
    except LockRevoked:
        say(f"the lock was taken away while this ran: {shlex.join(words)}; see --hold")
        return status or Status.REVOKED
    return status


def _run(words: Sequence[str]) -> int:
    """Run a command and return its status; Ctrl-C is its business, SIGTERM is handed on."""
    child: subprocess.Popen[str] | None = None
    stopped: list[int] = []

    def hand_on(number: int, frame: object) -> None:
        stopped.append(number)
        if child is not None:
            child.send_signal(number)

    wanted = {
        signal.SIGTERM: hand_on,
        signal.SIGHUP: hand_on,
        signal.SIGINT: lambda *_: None,
        signal.SIGQUIT: lambda *_: None,
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in wanted.items()
        if signal.getsignal(number) != signal.SIG_IGN  # nohup(1)
    }
    try:
        child = subprocess.Popen(words, text=True)
        for missed in stopped:
            child.send_signal(missed)
        status = child.wait()
    except FileNotFoundError:
        say(f"{words[0]}: command not found")
        return NOT_FOUND
    except OSError as error:
        say(f"{words[0]}: {error.strerror}")
        return NOT_EXECUTABLE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
