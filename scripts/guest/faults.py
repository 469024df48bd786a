# SPDX-License-Identifier: MIT
"""Finds in a guest's console log what the kernel says against itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .report import say, tail

# start.sh says so in the kernel log; what came before is none of ours.
STARTED = "guest: the command starts"
FAULTS = re.compile(
    r"WARNING: |BUG: |INFO: (possible|suspicious|trying|rcu)|INFO: task .* blocked|"
    r"UBSAN: |KASAN: |kmemleak: \d+ new|DEBUG_LOCKS_WARN_ON|ODEBUG: |Oops|int3: |refcount_t: "
)

# The kernel puts breakpoints into code that it patches (tracepoints, kprobes, static keys), and
# makes all CPUs look before it forgets them. With a thread for each CPU, QEMU's TCG now and then
# executes one after that.
BREAKPOINT = re.compile(r"\bint3: 0000 \[#1\]")


# What a kernel says first when it goes down.
FATAL = re.compile(r"Kernel panic|Oops|BUG: |int3: |general protection fault")

# A test that misuses the framework says so in the kernel log, and what it provokes is a warning.
PROVOKED = re.compile(r"guest: a warning is due.*?guest: no warning is due", re.DOTALL)
DUE = re.compile(r"WARNING: .* \[dmabuf_sync\]")


def find(log: str) -> list[str]:
    """Return the lines of a console log, after the command started, that report a fault."""
    _, _, after = log.partition(STARTED)
    after = PROVOKED.sub(lambda part: DUE.sub("", part[0]), after)
    return [line for line in after.splitlines() if FAULTS.search(line)]


def emulator(log: str) -> bool:
    """Say whether the guest went down by a fault of its emulator."""
    _, _, after = log.partition(STARTED)
    first = next((line for line in after.splitlines() if FAULTS.search(line)), "")
    return bool(BREAKPOINT.search(first))


def check(path: Path) -> int:
    """Print the faults in a console log; return 1 if there is any."""
    found = find(path.read_text(errors="replace"))
    for line in found:
        say(f"kernel fault: {line.strip()}")
    if found:
        say(f"{len(found)} kernel faults: see {path}")
    return 1 if found else 0


def check_planted(path: Path, planted: Mapping[str, str]) -> int:
    """Print which faults were planted and not found in a console log; return 1 if any was missed.

    `planted` has for each a regular expression that its line matches.
    """
    found = find(path.read_text(errors="replace"))
    for name, pattern in planted.items():
        line = next((line for line in found if re.search(pattern, line)), None)
        say(f"planted {name}: {line.strip() if line else 'MISSED'}")
        if line is None:
            return 1
    return 0


def last_words(path: Path, lines: int = 30) -> list[str]:
    """Return the end of a console log: from the fault that ended the guest, or else some lines."""
    end = tail(path, 10 * lines)
    fatal = [number for number, line in enumerate(end) if FATAL.search(line)]
    return end[fatal[0] :] if fatal and len(end) - fatal[0] > lines else end[-lines:]
