# SPDX-License-Identifier: MIT
"""Parties: askers of all kinds, each a process of its own that uses one buffer at a time.

    holder, asker = Party("fcntl"), Party("job")
    holder.get(fd, write=True)
    asker.ask(fd, write=True)        # in line now
    holder.give(fd)
    asker.got()                      # has it

A driver locks for its device; a job has its buffer from the start of its DMA to the end.
"""

from __future__ import annotations

from typing import Any

from actors import Actor, until
from driver import DMA_READ, DMA_WRITE, Driver
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses

from dmabuf_sync import Access, Sync

KINDS = ("fcntl", "sync", "driver", "job")
WAITING_KINDS = ("fcntl", "sync", "driver")
"""Those whose caller sleeps; nobody is woken for a job."""

# What this process has, if it is a party.
_has: Any = None


def take(kind: str, fd: int, write: bool, wait: bool = True) -> None:
    """In the actor. A job is submitted, and only waited for if `wait`."""
    global _has
    if kind == "fcntl":
        (lock if wait else trylock)(fd, WRITE if write else READ)
        return
    asker: Any = Sync("party") if kind == "sync" else Driver()
    try:
        if kind == "sync":
            asker.add(fd, Access.WRITE if write else Access.READ)
            asker.lock(blocking=wait)
        else:
            asker.get(fd, DMA_WRITE if write else DMA_READ)
            if kind == "job":
                asker.submit()
            elif wait:
                asker.lock()
            else:
                asker.trylock()
    except OSError:
        asker.close()
        raise
    _has = asker
    if kind == "job" and wait:
        asker.wait_started()


def started() -> None:
    """In the actor: until its job is."""
    _has.wait_started()


def drop(kind: str, fd: int) -> None:
    """In the actor."""
    if kind == "fcntl":
        unlock(fd)
        return
    if kind == "job":
        _has.done()
        _has.wait_done()
    else:
        _has.unlock()
    _has.close()


class Party:
    """Make it after the buffers it is to know."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.actor = Actor()
        self.pid = self.actor.pid

    def get(self, fd: int, write: bool) -> None:
        self.actor.call(take, self.kind, fd, write)

    def refused(self, fd: int, write: bool) -> bool:
        """Whether it would have to wait. A job is never refused, and stays in line."""
        try:
            self.actor.call(take, self.kind, fd, write, wait=False)
        except BlockingIOError:
            return True
        if self.kind != "job":
            return False
        self.actor.start(started)
        return self.actor.running()

    def ask(self, fd: int, write: bool) -> None:
        """Returns once it is in line; got() when it has the buffer."""
        self.actor.start(take, self.kind, fd, write)
        until(lambda: self.in_line(fd), f"queuing of {self.kind}")

    def in_line(self, fd: int) -> bool:
        return self.pid in [access.pid for access in accesses(fd)]

    def waits(self) -> bool:
        return self.actor.running()

    def got(self) -> None:
        self.actor.result()

    def give(self, fd: int) -> None:
        self.actor.call(drop, self.kind, fd)

    def close(self) -> None:
        self.actor.kill()
