# SPDX-License-Identifier: MIT
"""Bugs on purpose: does a debug kernel notice every kind, and does the harness hear of it?

The module tests/module/planted.c makes them happen, one by one, in guests of their own. Then what
watches over a test run must have found each: the console log, and checks.sh at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import kernels, vm
from .report import say
from .suites import CHECKS
from .vm import Session

FILE = "/sys/kernel/debug/dsync_planted"


@dataclass(frozen=True)
class Guest:
    """A boot of a debug kernel: `bugs` happen in this order and have to be reported like that.

    `shown` is what checks.sh says in the end.
    """

    kernel: str
    bugs: Mapping[str, str]
    shown: str


# Lockdep switches itself off with its first report, so that each of those needs a guest.
LOCKDEP_OFF = "lockdep has switched itself off"
GUESTS = (
    Guest(
        "lockdep",
        {
            "active-timer-freed": "ODEBUG: free active .* timer_list",
            "twice-off-the-list": "WARNING: .* __list_del_entry_valid",
            "unprotected-rcu-pointer": "WARNING: suspicious RCU usage",
            "sleep-in-atomic": "BUG: sleeping function called from invalid context",
            "lock-inversion": "WARNING: possible circular locking dependency",
        },
        LOCKDEP_OFF,
    ),
    Guest(
        "lockdep",
        {"allocation-while-signalling": "WARNING: possible circular locking dependency"},
        LOCKDEP_OFF,
    ),
    Guest(
        "lockdep",
        {"ww-mutex-misuse": r"DEBUG_LOCKS_WARN_ON\(ww_ctx->done_acquire\)"},
        LOCKDEP_OFF,
    ),
    Guest(
        "kasan",
        {
            "use-after-free": "KASAN: slab-use-after-free in use_after_free",
            "out-of-bounds": "KASAN: slab-out-of-bounds in out_of_bounds",
            "index-out-of-bounds": "UBSAN: array-index-out-of-bounds",
            "shift-out-of-bounds": "UBSAN: shift-out-of-bounds",
            "leak": r"kmemleak: \d+ new suspected memory leaks",
        },
        "unreferenced object",
    ),
)


def command(guest: Guest) -> str:
    """Return what the guest runs: 0 when the checks found fault and said so."""
    lines = [
        "set -e",
        "insmod $DMABUF_SYNC_MODULES/dsync_planted/dsync_planted.ko",
        *(f"echo {bug} >{FILE}" for bug in guest.bugs),
        f"if {CHECKS} 2>/tmp/checks; then exit 3; fi",
        f"grep '{guest.shown}' /tmp/checks",
    ]
    return "\n".join(lines)


def every(names: Sequence[str], base: Session) -> int:
    """Plant the bugs on the kernels of these names; return 0 if all were noticed, else 1."""
    missed = 0
    for guest in GUESTS:
        if guest.kernel not in names:
            continue
        say(f"planted on {guest.kernel}: {' '.join(guest.bugs)}")
        session = replace(
            base,
            command=command(guest),
            # By default KASAN has had enough after its first report.
            append=[*base.append, "kasan_multi_shot"],
            log="console-planted",
            planted=guest.bugs,
        )
        if vm.run(kernels.get(guest.kernel), session):
            say(f"planted on {guest.kernel}: NOT all noticed")
            missed = 1
    return missed
