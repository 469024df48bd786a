# SPDX-License-Identifier: MIT
"""The test suites: unit tests on this machine, system tests in guests."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from . import build, kernels, paths, vm
from .kernels import Kernel
from .report import say
from .sandbox import Sandbox
from .vm import Session

UNIT = "tests/unit"
SYSTEM = "tests/system"
# Emulated, with everything checked: seconds a test may take there.
SLOW = {"lockdep": 300, "kasan": 900}
CHECKS = "sh scripts/guest/checks.sh"
# The kernel's own words for a fault it found in itself.
FAULTS = re.compile(
    r"WARNING: |BUG: |INFO: possible |INFO: task .* blocked|INFO: rcu|UBSAN: |KASAN: |"
    r"kmemleak: \d+ new|DEBUG_LOCKS_WARN_ON|Oops|refcount_t: "
)
STARTED = "guest: the command starts"


def worst(statuses: Iterable[int]) -> int:
    """Return the status that says most: a lost guest (255) above a failed test."""
    return max(statuses, default=0)


def pytest(suite: str, name: str, kernel: Kernel, more: Sequence[str] = ()) -> list[str]:
    """Return the pytest command line for a suite; `name` tells its results apart."""
    words = ["python3", "-m", "pytest", suite, f"--junitxml=build/junit-{name}.xml"]
    words += ["-o", f"cache_dir={build.workspace(kernel) / 'pytest_cache'}"]
    return [*words, *more, *shlex.split(os.environ.get("PYTEST", ""))]


def unit(kernel: Kernel) -> int:
    """Run the unit tests on this machine, in the kernel's tree; return pytest's status."""
    build.extension(kernel)
    paths.BUILD.mkdir(exist_ok=True)
    env = {"PYTHONPATH": "python:scripts", "TERM": os.environ.get("TERM", "dumb")}
    say("unit tests")
    words = pytest(UNIT, "unit", kernel)
    sandbox = Sandbox(kernel.base, writable=[paths.ROOT], env=env)
    return sandbox.run(words, stdout=1)


def system(kernel: Kernel, base: Session) -> int:
    """Run the system tests in a guest, then the data tests in one that bounces DMA."""
    slow = SLOW.get(kernel.name)
    more = ["-o", f"timeout={slow}"] if slow else []
    runs = [
        (kernel.name, "console", [*base.append], more),
        (
            f"{kernel.name}-swiotlb",
            "console-swiotlb",
            [*base.append, "swiotlb=force"],
            [*more, "-m", "coherency"],
        ),
    ]
    statuses = []
    for name, log, append, options in runs:
        say(f"system tests on {kernel.release}{' '.join(['', *append])}")
        command = shlex.join(pytest(SYSTEM, name, kernel, options))
        if slow:
            command = f"{command}; status=$?; {CHECKS} || exit 1; exit $status"
        session = replace(base, command=command, append=append, log=log)
        status = vm.run(kernel, session)
        if slow:
            status = worst([status, check_log(paths.BUILD / f"{log}-{kernel.name}.log")])
        statuses.append(status)
    return worst(statuses)


def test(kernel: Kernel, base: Session) -> int:
    """Run every default test; return the worst status."""
    return worst([unit(kernel), system(kernel, base)])


def every(names: Sequence[str], base: Session) -> int:
    """Run the system tests on several kernels; return the worst status."""
    return worst([system(kernels.get(name), base) for name in names])


def faults(log: str) -> list[str]:
    """Return the lines of a console log, after the command started, that report a kernel fault.

    What the kernel says while it boots is none of ours.
    """
    _, _, after = log.partition(STARTED)
    return [line for line in after.splitlines() if FAULTS.search(line)]


def check_log(path: Path) -> int:
    """Print the faults in a console log; return 1 if there is any."""
    found = faults(path.read_bytes().decode(errors="replace"))
    for line in found:
        say(f"kernel fault: {line.strip()}")
    if found:
        say(f"{len(found)} kernel faults: see {path}")
    return 1 if found else 0
