# SPDX-License-Identifier: MIT
"""Finds in a guest's console log what the kernel says against itself."""

from __future__ import annotations

import re
from pathlib import Path

from .report import say

# start.sh says so in the kernel log; what came before is none of ours.
STARTED = "guest: the command starts"
FAULTS = re.compile(
    r"WARNING: |BUG: |INFO: (possible|suspicious|trying|rcu)|INFO: task .* blocked|"
    r"UBSAN: |KASAN: |kmemleak: \d+ new|DEBUG_LOCKS_WARN_ON|ODEBUG: |Oops|refcount_t: "
)


def find(log: str) -> list[str]:
    """Return the lines of a console log, after the command started, that report a fault."""
    _, _, after = log.partition(STARTED)
    return [line for line in after.splitlines() if FAULTS.search(line)]


def check(path: Path) -> int:
    """Print the faults in a console log; return 1 if there is any."""
    found = find(path.read_text(errors="replace"))
    for line in found:
        say(f"kernel fault: {line.strip()}")
    if found:
        say(f"{len(found)} kernel faults: see {path}")
    return 1 if found else 0
