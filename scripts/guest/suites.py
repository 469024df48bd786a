# SPDX-License-Identifier: MIT
"""The test suites: unit tests on this machine, system tests in guests.

A guest is one thread of this machine, so suites run beside each other, the system tests in two
halves. Each is printed as a whole.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest

from . import build, kernels, paths, venv, vm
from .aside import Aside
from .kernels import Kernel
from .report import say
from .sandbox import Sandbox
from .vm import Session

UNIT = "tests/unit"
SYSTEM = "tests/system"
# The half that is in folders: the devices, the library, the command, and who means harm.
FOLDERS = [f"{SYSTEM}/{name}" for name in ("blitter", "command", "exporter", "hostile", "library")]
# Emulated, with everything checked: seconds a test may take there.
SLOW = {"lockdep": 300, "kasan": 900}
# What depends on who runs when: for guests that differ in nothing but that.
SCHEDULED = [
    f"{SYSTEM}/test_{name}.py"
    for name in ("contract", "cycles", "death", "queue", "revoke", "sync_object", "trace_replay")
]
CPUS = (1, 4)
"""Beside the two that guests have by default."""
PREEMPT = {
    "6.1": ("none", "voluntary", "full"),
    "6.12": ("none", "voluntary", "full"),
    "7.2": ("full", "lazy"),
}
"""What these kernels take for preempt=."""
MODE = "/sys/kernel/debug/sched/preempt"
CHECKS = "sh scripts/guest/checks.sh"
COUNTS = "sh scripts/guest/counts.sh"
NOTHING_COLLECTED = 5
REPLAY = "import sys; from dmabuf_sync.trace.replay import main; sys.exit(main(sys.argv[1:]))"


def worst(statuses: Sequence[int], *, selected: bool = False) -> int:
    """Return the status that says most: a lost guest (255) above a failed test.

    A suite without tests has failed, unless the user `selected` tests and another suite had some.
    """
    if selected and set(statuses) != {NOTHING_COLLECTED}:
        statuses = [status for status in statuses if status != NOTHING_COLLECTED]
    return max(statuses, default=0)


def selection() -> list[str]:
    """Return the user's own options for pytest."""
    return shlex.split(os.environ.get("PYTEST", ""))


def pytest(suite: Sequence[str], name: str, kernel: Kernel, more: Sequence[str] = ()) -> list[str]:
    """Return the pytest command line for a suite; `name` tells its results apart."""
    words = ["python3", "-m", "pytest", *suite, f"--junitxml=build/junit-{name}.xml"]
    words += ["-o", f"cache_dir={build.workspace(kernel) / f'pytest_cache-{name}'}"]
    return [*words, *more, *selection()]


def unit(kernel: Kernel) -> int:
    """Run the unit tests on this machine, in the kernel's tree; return pytest's status."""
    build.extension(kernel)
    more = venv.beside(kernel.base, "unit")
    say("unit tests")
    env = {"PYTHONPATH": f"python:scripts:{more}", "TERM": os.environ.get("TERM", "dumb")}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    sandbox = Sandbox(kernel.base, readable=[more], writable=[paths.ROOT], env=env)
    return sandbox.run(pytest([UNIT], "unit", kernel), stdout=1)


def system(kernel: Kernel, base: Session) -> int:
    """Run the system tests in two guests, and the data tests in one that bounces DMA."""
    bounced = replace(base, append=[*base.append, "swiotlb=force"])
    data = [*coherency_files(), "-m", "coherency and not slow"]
    rest = [SYSTEM, *(f"--ignore={folder}" for folder in FOLDERS)]
    # Built here, once, for all.
    build.modules(kernel, base.modules, base.patch, base.counters is not None)
    build.extension(kernel)
    with (
        Aside(lambda: guest_run(kernel, bounced, "swiotlb", data)) as coherency,
        Aside(lambda: guest_run(kernel, base, "folders", FOLDERS)) as folders,
    ):
        core = guest_run(kernel, base, "core", rest)
        statuses = [core, folders.finish(), coherency.finish()]
        return worst(statuses, selected=bool(selection()))


def coherency_files() -> list[str]:
    """Return the files with tests marked `coherency`: to collect all takes an emulated CPU long."""
    files = sorted((paths.ROOT / SYSTEM).rglob("test_*.py"))
    marked = [file for file in files if "mark.coherency" in file.read_text()]
    return [str(file.relative_to(paths.ROOT)) for file in marked]


def guest_run(
    kernel: Kernel, base: Session, name: str, suite: Sequence[str], first: str = ""
) -> int:
    """Run pytest in one guest; on a debug kernel also ask the checkers what they found.

    With a folder for `counters` nothing is checked, and what ran is left there. A command to run
    `first` has to succeed.
    """
    say(f"system tests ({name}) on {' '.join([kernel.release, *base.append])}")
    slow = SLOW.get(kernel.name)
    options = ["-o", f"timeout={slow}"] if slow else []
    command = shlex.join(pytest(suite, f"{kernel.name}-{name}", kernel, options))
    checked = bool(slow) and not base.counters
    if checked:
        command = f"{command}; status=$?; {CHECKS} || exit 1; exit $status"
    if base.counters:
        counts = shlex.join([str(build.copied(kernel, counted=True)), str(base.counters / name)])
        command = f"{command}; status=$?; {COUNTS} {counts} || exit 1; exit $status"
    command = f"{first} || exit 1; {command}" if first else command
    base = replace(base, command=command, log=f"console-{name}", checked=checked)
    return vm.run(kernel, replace(base, repeatable=True, caching=True))


def test(kernel: Kernel, base: Session) -> int:
    """Run every default test; return the worst status."""
    with Aside(lambda: unit(kernel)) as here:
        guests = system(kernel, base)
        return worst([here.finish(), guests], selected=bool(selection()))


def every(names: Sequence[str], base: Session) -> int:
    """Run the system tests on several kernels; return the worst status."""
    return worst([system(kernels.get(name), base) for name in names], selected=bool(selection()))


def matrix(names: Sequence[str], base: Session) -> int:
    """Run the system tests on several stock kernels; return the worst status.

    Then, two guests at a time, those that depend on scheduling with other numbers of CPUs and in
    every mode of preemption that the kernel knows.
    """
    statuses = [every(names, base)]
    for name in names:
        kernel = kernels.get(name)
        guests = [(f"cpus-{cpus}", replace(base, cpus=cpus), "") for cpus in CPUS]
        guests += [
            (
                f"preempt-{mode}",
                replace(base, append=[*base.append, f"preempt={mode}"]),
                # A kernel that does not know it takes another one.
                f"grep -F '({mode})' {MODE}",
            )
            for mode in PREEMPT.get(name, ())
        ]
        for pair in zip_longest(guests[::2], guests[1::2]):
            statuses += side_by_side(kernel, [guest for guest in pair if guest])
    return worst(statuses, selected=bool(selection()))


def side_by_side(kernel: Kernel, guests: Sequence[tuple[str, Session, str]]) -> list[int]:
    """Run the tests of scheduling in one or two guests at once; return their statuses."""
    (name, session, first), *others = guests
    with contextlib.ExitStack() as stack:
        asides = [
            stack.enter_context(Aside(partial(guest_run, kernel, other, called, SCHEDULED, check)))
            for called, other, check in others
        ]
        status = guest_run(kernel, session, name, SCHEDULED, first)
        return [status, *(aside.finish() for aside in asides)]


def suspend(kernel: Kernel, base: Session) -> int:
    """Suspend a guest, as far as its devices go, while locks are held and waited for."""
    say(f"suspending on {kernel.release}")
    command = "sh scripts/guest/suspend.sh"
    return vm.run(kernel, replace(base, command=command, log="console-suspend"))


def fuzz(names: Sequence[str], base: Session, limit: str, seed: int) -> int:
    """Make random calls on several kernels, on each up to a limit; return the worst status."""
    return max(fuzz_on(kernels.get(name), base, limit, seed) for name in names)


def fuzz_on(kernel: Kernel, base: Session, limit: str, seed: int) -> int:
    """Make random calls in a guest, and replay here what its rounds have left: that is faster."""
    logs = build.workspace(kernel) / "fuzz"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    command = f"python3 tests/fuzz {limit} --seed {seed} --logs {logs}"
    command = f"{command}; status=$?; {CHECKS} || exit 1; exit $status"
    status = vm.run(kernel, replace(base, command=command, log="console-fuzz", checked=True))
    found = sorted(logs.iterdir())
    say(f"replaying the traces of {len(found)} rounds")
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT / "python")}
    words = [sys.executable, "-c", REPLAY, *map(str, found)]
    return max(status, subprocess.run(words, env=env).returncode)
