# SPDX-License-Identifier: MIT
"""Which lines and branches of the modules the system tests reach, by gcov.

Modules built for it count what runs in them. A guest copies the counts out of debugfs when its
tests are over; gcov, of the guest's tree as the compiler was, tells which lines they are of.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from . import build, kernels, paths, suites
from .kernels import Kernel
from .report import SetupError, say
from .sandbox import Sandbox
from .vm import Session

COVERED = "kernel"
# What the kernel makes of TRACE_EVENT() is no code of ours.
LEFT_OUT = ("trace.h",)
# Configured with GCOV_KERNEL, and with what lets allocations fail: so error paths run, too.
KERNEL = "lockdep"
# Per cent.
LINES_GOAL, BRANCHES_GOAL = 90, 80
DETAILS = paths.BUILD / "coverage.txt"
Row = tuple[int, ...]


@dataclass
class Counts:
    """How often the lines of a file ran, and the branches of a line, by object file."""

    lines: dict[int, int] = field(default_factory=dict)
    branches: dict[tuple[int, str], list[int]] = field(default_factory=dict)

    def add(self, line: int, part: str, count: int, branches: Iterable[int]) -> None:
        self.lines[line] = self.lines.get(line, 0) + count
        before = self.branches.get((line, part), [])
        pairs = zip_longest(before, branches, fillvalue=0)
        self.branches[line, part] = [old + new for old, new in pairs]

    def missed_lines(self) -> list[int]:
        return sorted(line for line, count in self.lines.items() if not count)

    def missed_branches(self) -> list[int]:
        """The lines that ran, but not in all directions."""
        missed = {line for (line, _), counts in self.branches.items() if not all(counts)}
        return sorted(line for line in missed if self.lines[line])

    def row(self) -> Row:
        """Lines and branches: reached, and all."""
        branches = [count for counts in self.branches.values() for count in counts]
        lines = self.lines.values()
        return sum(map(bool, lines)), len(lines), sum(map(bool, branches)), len(branches)


def run(base: Session) -> int:
    """Run the system tests and print what they reach; 1 when that is below the goal."""
    kernel = kernels.get(KERNEL)
    folder = build.workspace(kernel) / "coverage"
    shutil.rmtree(folder, ignore_errors=True)
    status = suites.system(kernel, replace(base, counters=folder))
    return max(status, report(kernel, folder))


def report(kernel: Kernel, folder: Path) -> int:
    """Print what the guests that left their counts in `folder` reached; 1 when below the goal."""
    top = build.copied(kernel, counted=True)
    files: dict[str, Counts] = {}
    for guest in sorted(folder.glob("*/")):
        read(gcov(kernel, guest, top), top, files)
    if not files:
        raise SetupError("no guest left any counts")
    print("\n".join([*table(files), "", *missing(files)]))
    DETAILS.write_text("".join(f"{line}\n" for line in details(files, top)))
    say(f"the lines in question: {DETAILS}")
    lines, all_lines, branches, all_branches = total(files)
    reached = 100 * lines >= LINES_GOAL * all_lines
    reached = reached and 100 * branches >= BRANCHES_GOAL * all_branches
    if not reached:
        say(f"coverage: below {LINES_GOAL} % of the lines or {BRANCHES_GOAL} % of the branches")
    return 0 if reached else 1


def gcov(kernel: Kernel, guest: Path, top: Path) -> list[str]:
    """Return what gcov says of a guest's counts: JSON, an object file a line."""
    counts = sorted(path.relative_to(guest) for path in guest.rglob("*.gcda"))
    for path in counts:
        # gcov looks for the compiler's notes beside the counts.
        shutil.copy(top / path.with_suffix(".gcno"), guest / path.with_suffix(".gcno"))
    out = guest / "gcov.json"
    words = ["gcov", "--json-format", "--stdout", "--branch-probabilities", *map(str, counts)]
    with out.open("wb") as file:
        if Sandbox(kernel.base, cwd=str(guest)).run(words, stdout=file):
            raise SetupError(f"gcov failed on {guest}")
    return [line for line in out.read_text().splitlines() if line.startswith("{")]


def read(documents: Iterable[str], top: Path, files: dict[str, Counts]) -> None:
    """Add what is said of the files of ours to `files`, by path from the project folder."""
    for text in documents:
        document = json.loads(text)
        for entry in document["files"]:
            path = os.path.join(document["current_working_directory"], entry["file"])
            name = os.path.relpath(os.path.normpath(path), top)
            if not name.startswith(f"{COVERED}/") or name.endswith(LEFT_OUT):
                continue
            counts = files.setdefault(name, Counts())
            for line in entry["lines"]:
                part = f"{document['data_file']} {line.get('function_name')}"
                branches = [branch["count"] for branch in line["branches"]]
                counts.add(line["line_number"], part, line["count"], branches)


def total(files: Mapping[str, Counts]) -> Row:
    rows = [counts.row() for counts in files.values()]
    return tuple(map(sum, zip(*rows, strict=True)))


def table(files: Mapping[str, Counts]) -> list[str]:
    """Return the table, a line each."""
    rows = {name: counts.row() for name, counts in sorted(files.items())}
    rows["all"] = total(files)
    width = max(map(len, rows))
    head = f"{'file':{width}}  {'lines':>18}  {'branches':>18}"
    return [
        head,
        *(f"{name:{width}}  {share(*row[:2])}  {share(*row[2:])}" for name, row in rows.items()),
    ]


def share(reached: int, there: int) -> str:
    """Return "reached/there per cent", 18 characters wide."""
    return f"{f'{reached}/{there}':>10} {100 * reached / there if there else 100:5.1f} %"


def missing(files: Mapping[str, Counts]) -> list[str]:
    """Return, for each file, the lines that never ran and those with a branch never taken."""
    out = ["Never reached:"]
    for name, counts in sorted(files.items()):
        lines, branches = counts.missed_lines(), counts.missed_branches()
        if lines or branches:
            out.append(f"  {name}")
        if lines:
            out.append(f"    lines {spans(lines)}")
        if branches:
            out.append(f"    a branch of {spans(branches)}")
    return out


def spans(numbers: Iterable[int]) -> str:
    """Return ascending numbers with neighbours drawn together: 1-3 7."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return " ".join(f"{span[0]}-{span[-1]}" if span[1:] else str(span[0]) for span in found)


def details(files: Mapping[str, Counts], top: Path) -> list[str]:
    """Return the lines in question as they are in the sources, marked - (line) or / (branch)."""
    out = []
    for name, counts in sorted(files.items()):
        source = (top / name).read_text().splitlines()
        marks = dict.fromkeys(counts.missed_branches(), "/")
        marks |= dict.fromkeys(counts.missed_lines(), "-")
        out += [f"{name}:{line}: {mark} {source[line - 1]}" for line, mark in sorted(marks.items())]
    return out
