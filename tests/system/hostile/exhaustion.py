# SPDX-License-Identifier: MIT
"""Calls that are repeated with their 1st, 2nd, ... allocation failing, until none fails.

A Case is one call and what has to be done around it; exhaust() sees that each failure ends the
call with a clean errno and leaves nothing behind (Traces).
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from actors import until
from injector import Injector
from state import Access as Line
from state import accesses, proc_locks

from dmabuf_sync import Access, Sync

# For fcntl() ENOLCK is what ENOMEM is for others; a copy from or to user space fails with EFAULT.
CLEAN = (errno.ENOMEM, errno.ENOLCK, errno.EFAULT)
SIZE = 65536
BUFFERS = 6
"""In a set: more than one step of its growth."""
MOST = 2000
MODULES = ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay")

Stack = contextlib.ExitStack


def nothing(result: Any = None) -> None:
    """When there is nothing to be done."""


@dataclass
class Case:
    """A call, what undoes it, and what has to be done before every try."""

    call: Callable[[], Any]
    undo: Callable[[Any], Any] = nothing
    before: Callable[[], Any] = nothing
    errors: tuple[int, ...] = CLEAN


Make = Callable[[Stack, list[int]], Case]
"""Makes a case of buffers; what it needs for as long as it is tried is on the stack."""


@dataclass
class Traces:
    """What a failed call must not change."""

    held: list[Line]
    records: int
    files: set[str]
    buffers: int
    users: list[int]

    def leaves(self, old: Traces) -> bool:
        """As before? A signalled fence keeps its module, until somebody makes room for more."""
        users = [min(now, then) for now, then in zip(self.users, old.users, strict=True)]
        return self == replace(old, users=users)


def _buffers() -> int:
    with open("/sys/kernel/debug/vdmabuf/stats") as file:
        return int(dict(line.split() for line in file)["buffers"])


def _users(module: str) -> int:
    with open(f"/sys/module/{module}/refcnt") as file:
        return int(file.read())


def _traces(fds: list[int]) -> Traces:
    return Traces(
        accesses(),
        sum(len(proc_locks(fd)) for fd in fds),
        set(os.listdir("/proc/self/fd")),
        _buffers(),
        [_users(name) for name in MODULES],
    )


def exhaust(inject: Injector, make: Make, fds: list[int]) -> int:
    """Try with the 1st, 2nd, ... allocation failing, until none does; returns how many do."""
    with contextlib.ExitStack() as stack:
        return _exhaust(inject, make(stack, fds), fds)


def _exhaust(inject: Injector, case: Case, fds: list[int]) -> int:
    # The last fence of a buffer stays on it and keeps the module: so there has to be one before.
    case.before()
    case.undo(case.call())
    case.before()
    old = _traces(fds)
    for nth in range(1, MOST):
        inject.arm(nth)
        error = 0
        result = None
        try:
            result = case.call()
        except OSError as failure:
            error = failure.errno or -1
        finally:
            failed = inject.disarm()
        if error:
            assert failed, f"{errno.errorcode[error]} for nothing"
            assert error in case.errors, f"{errno.errorcode[error]} for allocation {nth}"
        else:
            case.undo(result)
        # What a case does before every try brings back what it needs, and nothing else.
        case.before()
        with contextlib.suppress(AssertionError):
            until(lambda: _traces(fds).leaves(old))
        now = _traces(fds)
        assert now.leaves(old), f"allocation {nth} leaves {now}\ninstead of {old}"
        if not failed:
            return nth - 1
    raise AssertionError(f"more than {MOST} allocations")


# What several cases need


def a_set(stack: Stack, fds: list[int], access: Access = Access.WRITE) -> Sync:
    """An unlocked sync object with these buffers in it."""
    sync = stack.enter_context(Sync("nth"))
    for fd in fds:
        sync.add(fd, access)
    return sync


def unlocks(sync: Sync) -> Callable[[Any], None]:
    return lambda _: sync.unlock()


def closes(thing: Any) -> None:
    thing.close()


def overdue(stack: Stack, fds: list[int]) -> Callable[[], None]:
    """Lock for a millisecond: who comes next waits, and then takes the hold away."""
    holder = a_set(stack, fds)

    def again() -> None:
        with contextlib.suppress(OSError):
            holder.unlock()
        holder.lock(hold=0.001)

    return again
