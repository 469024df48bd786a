# SPDX-License-Identifier: MIT
"""Mutants: patches that break the modules on purpose, to see that a test notices.

Each is a file tests/mutants/NAME.patch. In front of the patch stand a line that says what is
broken, and fields:

    Tests: the tests that notice, as pytest takes them, separated by spaces
    Append: more kernel options for the guest
    Lost: caught            the guest may be lost, too: it hangs or panics
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import paths, vm
from .kernels import Kernel
from .report import SetupError, say
from .vm import Session

FOLDER = paths.ROOT / "tests" / "mutants"
FIELD = re.compile(r"^(Tests|Append|Lost): *(.*)$")
# Seconds for a guest with a few tests, and for each of them: some mutants make them wait.
GUEST_TIMEOUT = 240
TEST_TIMEOUT = 60
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Mutant:
    """One patch and what its header says."""

    path: Path
    title: str
    tests: tuple[str, ...]
    append: tuple[str, ...]
    may_be_lost: bool

    @property
    def name(self) -> str:
        return self.path.stem


def read(path: Path) -> Mutant:
    """Read a patch's header; raises SetupError when it is not complete."""
    header = path.read_text().partition("\n--- ")[0].splitlines()
    fields = {match[1]: match[2].split() for line in header if (match := FIELD.match(line))}
    if not header or not header[0].strip() or not fields.get("Tests"):
        raise SetupError(f"{path.name} has no title or no tests")
    return Mutant(
        path=path,
        title=header[0].strip(),
        tests=tuple(fields["Tests"]),
        append=tuple(fields.get("Append", ())),
        may_be_lost=fields.get("Lost") == ["caught"],
    )


def find(names: Sequence[str] = ()) -> list[Mutant]:
    """Return the mutants of these names, by default all; raises SetupError if one is not there."""
    chosen = [FOLDER / f"{name}.patch" for name in names] or sorted(FOLDER.glob("*.patch"))
    for path in chosen:
        if not path.exists():
            raise SetupError(f"MUTANT={path.stem}: no {path.relative_to(paths.ROOT)}")
    return [read(path) for path in chosen]


def session(base: Session, tests: Sequence[str], name: str) -> Session:
    """Return the guest that runs these tests until one fails."""
    words = ["python3", "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
    words += ["-o", f"timeout={TEST_TIMEOUT}", "-m", "slow or not slow", *tests]
    return replace(base, command=shlex.join(words), log=f"console-{name}")


def judge(mutant: Mutant, status: int) -> str:
    """Return "caught", or what else the status of its guest means."""
    if status == FAILED or (status == vm.LOST and mutant.may_be_lost):
        return "caught"
    if status == PASSED:
        return "SURVIVED"
    return "guest lost" if status == vm.LOST else f"pytest ended with status {status}"


def whole(kernel: Kernel, base: Session, mutants: Sequence[Mutant]) -> bool:
    """Do all the tests pass that the mutants name, as long as nothing is broken?"""
    options = sorted({mutant.append for mutant in mutants})
    for append in options:
        tests = {test for mutant in mutants if mutant.append == append for test in mutant.tests}
        unbroken = replace(base, append=[*base.append, *append])
        say(f"mutants: {len(tests)} tests on the sources as they are")
        if vm.run(kernel, session(unbroken, sorted(tests), "unbroken")) != PASSED:
            return False
    return True


def every(kernel: Kernel, base: Session, names: Sequence[str] = ()) -> int:
    """Try these mutants, by default all; return 0 if every one was caught, else 1."""
    mutants = find(names)
    if not whole(kernel, base, mutants):
        say("mutants: their tests fail anyway")
        return 1
    results = {}
    for mutant in mutants:
        say(f"mutant {mutant.name}: {mutant.title}")
        guest = session(base, mutant.tests, f"mutant-{mutant.name}")
        guest = replace(
            guest,
            append=[*base.append, *mutant.append],
            timeout=GUEST_TIMEOUT,
            patch=mutant.path,
        )
        results[mutant.name] = judge(mutant, vm.run(kernel, guest))
        say(f"mutant {mutant.name}: {results[mutant.name]}")
    say("mutants:")
    for name, result in results.items():
        say(f"  {result:12} {name}")
    return 0 if set(results.values()) == {"caught"} else 1
