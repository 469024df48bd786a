# SPDX-License-Identifier: MIT
"""What locks cost in the kernel, beside what is there without dmabuf-sync.

    make bench

The guest's time counts instructions then, two nanoseconds each, so that figures of different
machines can be compared, and the ratios of two runs are the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dmabuf_sync import DmaBuf, Exporter, Heap

SOURCE = Path(__file__).with_name("pairs.c")
HEADERS = Path(__file__).parents[2] / "kernel" / "include" / "uapi"
BUFFERS, SIZE = 64, 65536


@dataclass(frozen=True)
class Goal:
    """One way shall cost at most so many times what another does."""

    way: str
    beside: str
    ratio: float


GOALS = (
    Goal("fcntl", "posix", 1.15),
    Goal("sync object", "posix", 0.8),
    Goal("sync object of 64", "64 posix", 0.35),
    Goal("fcntl hand-over", "eventfd hand-over", 1.2),
)


@dataclass(frozen=True)
class Row:
    """What a pair of lock and unlock costs; `ratio` is to what is named `beside`."""

    exporter: str
    way: str
    ns: int
    beside: str | None = None
    ratio: float | None = None
    goal: float | None = None


@contextmanager
def program() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "pairs"
        # Behind the compiler's own: this folder has linux/ too, and not all of it.
        compiler = ["gcc", "-O2", "-Wall", "-Werror", "-idirafter", str(HEADERS)]
        subprocess.run([*compiler, "-o", str(made), str(SOURCE)], check=True)
        yield made


def measure(made: Path, exporter: str, buffers: list[DmaBuf]) -> list[Row]:
    fds = [buffer.fileno() for buffer in buffers]
    command = [str(made), *map(str, fds)]
    done = subprocess.run(command, pass_fds=fds, check=True, capture_output=True, text=True)
    costs = {line["name"]: int(line["ns"]) for line in map(json.loads, done.stdout.splitlines())}
    goals = {goal.way: goal for goal in GOALS}
    rows = []
    for way, ns in costs.items():
        goal = goals.get(way)
        if goal is None:
            rows.append(Row(exporter, way, ns))
        else:
            ratio = round(ns / costs[goal.beside], 3)
            rows.append(Row(exporter, way, ns, goal.beside, ratio, goal.ratio))
    return rows


def show(rows: list[Row]) -> None:
    for exporter in dict.fromkeys(row.exporter for row in rows):
        print(f"\nbuffers of {exporter}")
        for row in rows:
            if row.exporter == exporter:
                beside = f"{row.ratio:6.2f} x {row.beside}" if row.beside else ""
                goal = f" (goal {row.goal})" if row.goal else ""
                print(f"  {row.way:20} {row.ns:9,} ns{beside}{goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args()
    with program() as made, Exporter() as exporter, Heap("system") as heap:
        rows = measure(made, "vdmabuf", [exporter.allocate(SIZE) for _ in range(BUFFERS)])
        rows += measure(made, "dma-heap", [heap.allocate(SIZE) for _ in range(BUFFERS)])
    show(rows)
    if options.output:
        figures = {"kernel": platform.release(), "pairs": [asdict(row) for row in rows]}
        options.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
