# SPDX-License-Identifier: MIT
"""What the kernel says about locks: debugfs, /proc/locks, counters."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from actors import Actor, until

DEBUGFS = "/sys/kernel/debug/dmabuf_sync"
PARAMETERS = "/sys/module/dmabuf_sync/parameters"
DEBUG_KERNEL = os.environ.get("DMABUF_SYNC_KERNEL") in ("lockdep", "kasan")
"""It checks whatever happens, and is many times slower."""


def open_files() -> set[int]:
    """Descriptors of this process, without the one that looks."""
    names = os.listdir("/proc/self/fd")
    return {int(name) for name in names if os.path.lexists(f"/proc/self/fd/{name}")}


@dataclass(frozen=True)
class Access:
    """A line of debugfs `buffers`."""

    ino: int
    state: str
    kind: str
    type: str
    start: int
    end: int
    pid: int
    comm: str
    name: str


def accesses(fd: int | None = None) -> list[Access]:
    """Who holds and who waits, in the kernel's order; for one dma-buf or for all."""
    found = []
    with open(f"{DEBUGFS}/buffers") as file:
        for line in file:
            fields = dict(word.split("=", 1) for word in line.split())
            found.append(
                Access(
                    ino=int(fields["ino"]),
                    state=fields["state"],
                    kind=fields["kind"],
                    type=fields["type"],
                    start=int(fields["start"]),
                    end=int(fields["end"]),
                    pid=int(fields["pid"]),
                    comm=fields["comm"],
                    name=fields.get("name", ""),
                )
            )
    if fd is None:
        return found
    ino = os.fstat(fd).st_ino
    return [access for access in found if access.ino == ino]


def waiting(fd: int | None = None) -> list[int]:
    """Processes that wait, first come first."""
    return [access.pid for access in accesses(fd) if access.state == "waiting"]


def until_waiting(actor: Actor, fd: int | None = None) -> None:
    """Until the kernel has the actor in a queue (of that buffer)."""
    until(lambda: actor.pid in waiting(fd), f"waiting of actor {actor.pid}")


def missing_ends() -> list[str]:
    """Which counters do not add up since the module came, when nothing is held or waited for."""
    now = counters()
    wrong = []
    if now["grants"] + now["adoptions"] != now["releases"] + now["merges"]:
        wrong.append("grants and their ends")
    if now["job_starts"] != now["job_ends"]:
        wrong.append("starts and ends of jobs")
    if not now["wakes"] <= now["grants"] <= now["requests"]:
        wrong.append("grants and requests")
    return [f"{what}: {now}" for what in wrong]


def until_nothing_is_left() -> None:
    """Nobody holds or waits, and the counters add up."""
    until(lambda: not accesses(), "giving back all buffers")
    # Jobs may end a little after they have given their buffers back.
    with contextlib.suppress(AssertionError):
        until(lambda: not missing_ends())
    assert missing_ends() == []


def counters() -> dict[str, int]:
    with open(f"{DEBUGFS}/stats") as file:
        return {name: int(value) for name, value in (line.split() for line in file)}


def proc_locks(fd: int) -> list[tuple[str, str, int]]:
    """Records of /proc/locks for one file: (POSIX or OFDLCK, READ or WRITE, pid)."""
    ino = os.fstat(fd).st_ino
    found = []
    with open("/proc/locks") as file:
        for line in file:
            words = line.split()
            if words[1] == "->":
                continue
            if int(words[5].rsplit(":", 1)[1]) == ino and words[1] in ("POSIX", "OFDLCK"):
                found.append((words[1], words[3], int(words[4])))
    return found


def parameter(name: str, value: int | None = None) -> int:
    """Read a parameter of dmabuf_sync, or write it; returns what it was before."""
    path = f"{PARAMETERS}/{name}"
    with open(path) as file:
        old = int(file.read())
    if value is not None:
        with open(path, "w") as file:
            file.write(str(value))
    return old
