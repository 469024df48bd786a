# SPDX-License-Identifier: MIT
"""The kernel's side of the contract, in the words of its model (contract.py).

What actors call, and what can be seen of it: records, holders, and who waits in which order. The
model counts in blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from contract import LAST, READ, WRITE, Span
from locks import F_OFD_SETLK, F_OFD_SETLKW, FLOCK, UNLOCK
from state import accesses

from dmabuf_sync import Access, Sync

BLOCK = 16384
SIZE = BLOCK * (LAST - 1)
COMMANDS = {
    ("posix", False): fcntl.F_SETLK,
    ("posix", True): fcntl.F_SETLKW,
    ("ofd", False): F_OFD_SETLK,
    ("ofd", True): F_OFD_SETLKW,
}
TYPES = {READ: fcntl.F_RDLCK, WRITE: fcntl.F_WRLCK, "": UNLOCK}
ACCESS = {READ: Access.READ, WRITE: Access.WRITE}

# The one set that this process has, if it is an actor.
_set: Sync | None = None


def start_and_length(span: Span) -> tuple[int, int]:
    """In bytes; a length of 0 is all that follows."""
    first, end = span
    return first * BLOCK, 0 if end == LAST else (end - first) * BLOCK


# What actors do


def _interrupted(*_: object) -> None:
    raise InterruptedError(errno.EINTR, "interrupted")


def prepare() -> None:
    signal.signal(signal.SIGUSR1, _interrupted)


def call_fcntl(fd: int, kind: str, type_: str, span: Span, wait: bool) -> None:
    request = FLOCK.pack(TYPES[type_], os.SEEK_SET, *start_and_length(span), 0)
    fcntl.fcntl(fd, COMMANDS[kind, wait], request)


def call_lock_set(wanted: list[tuple[int, str, Span]], wait: bool) -> None:
    global _set
    made = Sync("set")
    for fd, type_, span in wanted:
        first, length = start_and_length(span)
        made.add(fd, ACCESS[type_], offset=first, length=length)
    try:
        made.lock(blocking=wait)
    except OSError:
        made.close()
        raise
    _set = made


def call_unlock_set() -> None:
    global _set
    assert _set
    _set.unlock()
    _set.close()
    _set = None


def call_close(fd: int) -> None:
    """Any descriptor of the file will do."""
    os.close(os.dup(fd))


def call_fork() -> int:
    """A child that has all descriptors and does nothing."""
    child = os.fork()
    if not child:
        signal.pause()
        os._exit(0)
    return child


# What can be seen


def who_waits(fd: int) -> list[tuple[str, int, str]]:
    """Who waits: (kind of owner, pid, READ or WRITE), first come first."""
    lines = [line for line in accesses(fd) if line.state == "waiting"]
    return [(line.kind, line.pid, line.type.removesuffix("+DMA")) for line in lines]


def who_holds(fd: int) -> list[str]:
    """The kinds of owners, in alphabetical order."""
    return sorted(line.kind for line in accesses(fd) if line.state != "waiting")


def records(fd: int) -> list[tuple[str, int, str, Span]]:
    """Of /proc/locks: (posix or ofd, pid or 0, READ or WRITE, blocks), in order."""
    ino = os.fstat(fd).st_ino
    found = []
    with open("/proc/locks") as file:
        for line in file:
            _, kind, _, access, pid, place, start, last = line.split()
            if kind not in ("POSIX", "OFDLCK") or int(place.rsplit(":", 1)[1]) != ino:
                continue
            posix = kind == "POSIX"
            end = LAST if last == "EOF" else (int(last) + 1) // BLOCK
            found.append(
                (
                    "posix" if posix else "ofd",
                    int(pid) if posix else 0,
                    READ if access == "READ" else WRITE,
                    (int(start) // BLOCK, end),
                )
            )
    return sorted(found)


def is_gone(pid: int) -> bool:
    """It is nobody's child here: the reaper of orphans waits for it, or its parent never does."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in ("Z", "X")
    except OSError:
        return True
