# SPDX-License-Identifier: MIT
"""What is made of the counts that gcov gives: the table, what is missing, and the goal."""

import json
from pathlib import Path
from typing import Any

import pytest
from guest import build, coverage, kernels, suites, vm
from guest.report import SetupError

TOP = Path("/top")


def line(number: int, count: int, *branches: int, function: str = "f") -> dict[str, Any]:
    return {
        "line_number": number,
        "function_name": function,
        "count": count,
        "branches": [{"count": taken} for taken in branches],
    }


def document(files: dict[str, list[dict[str, Any]]], data: str = "one.gcda") -> str:
    entries = [{"file": name, "lines": lines} for name, lines in files.items()]
    found = {"current_working_directory": "/elsewhere", "data_file": data, "files": entries}
    return json.dumps(found)


def read(*documents: str) -> dict[str, coverage.Counts]:
    files: dict[str, coverage.Counts] = {}
    coverage.read(documents, TOP, files)
    return files


def test_guests_add_up() -> None:
    one = document({"/top/kernel/a.c": [line(1, 1, 1, 0), line(2, 0), line(3, 0)]})
    two = document({"/top/kernel/a.c": [line(1, 1, 0, 1), line(2, 0), line(3, 4)]})
    counts = read(one, two)["kernel/a.c"]
    assert counts.row() == (2, 3, 2, 2)
    assert counts.missed_lines() == [2]


def test_each_user_of_a_header_has_branches_of_its_own() -> None:
    files = {"/top/kernel/a.h": [line(7, 1, 1, 0)]}
    other = {"/top/kernel/a.h": [line(7, 1, 0, 1)]}
    counts = read(document(files), document(other, "two.gcda"))["kernel/a.h"]
    assert counts.row() == (1, 1, 2, 4)
    assert counts.missed_branches() == [7]


def test_a_line_that_never_ran_is_not_listed_for_its_branches_too() -> None:
    counts = read(document({"/top/kernel/a.c": [line(1, 0, 0, 0)]}))["kernel/a.c"]
    assert counts.missed_lines() == [1]
    assert counts.missed_branches() == []


def test_only_the_kernel_part_counts() -> None:
    names = ("/top/tests/module/a.c", "/top/kernel/x/trace.h", "/source/include/linux/list.h")
    assert read(document({name: [line(1, 1)] for name in names})) == {}
    assert read(document({"../top/kernel/a.c": [line(1, 1)]})).keys() == {"kernel/a.c"}


def test_the_table_has_every_file_and_all() -> None:
    files = read(
        document(
            {"/top/kernel/a.c": [line(1, 5, 5, 0), line(2, 0)], "/top/kernel/b.c": [line(1, 1)]}
        )
    )
    head, *rows = [row.split() for row in coverage.table(files)]
    assert head == ["file", "lines", "branches"]
    assert rows == [
        ["kernel/a.c", "1/2", "50.0", "%", "1/2", "50.0", "%"],
        ["kernel/b.c", "1/1", "100.0", "%", "0/0", "100.0", "%"],
        ["all", "2/3", "66.7", "%", "1/2", "50.0", "%"],
    ]
    assert coverage.missing(files) == [
        "Never reached:",
        "  kernel/a.c",
        "    lines 2",
        "    a branch of 1",
    ]


def test_neighbouring_lines_are_drawn_together() -> None:
    assert coverage.spans([1, 2, 3, 7, 9, 10]) == "1-3 7 9-10"


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one guest left counts of a file of ten lines; gcov.json is what gcov says."""
    top = tmp_path / "counted"
    (top / "kernel").mkdir(parents=True)
    (top / "kernel/a.c").write_text("line\n" * 10)
    monkeypatch.setattr(build, "copied", lambda *_, **__: top)
    monkeypatch.setattr(coverage, "DETAILS", tmp_path / "coverage.txt")
    monkeypatch.setattr(
        coverage, "gcov", lambda _, guest, __: (guest / "gcov.json").read_text().splitlines()
    )
    guest = tmp_path / "counts" / "core"
    guest.mkdir(parents=True)
    return guest


@pytest.mark.parametrize(
    ("lines", "branches", "status"), [(9, 4, 0), (10, 5, 0), (8, 5, 1), (10, 3, 1)]
)
def test_the_goal_decides(
    counted: Path, kernel: Any, lines: int, branches: int, status: int
) -> None:
    found = [line(n, n <= lines) for n in range(2, 11)]
    found.append(line(1, 1, *(n < branches for n in range(5))))
    name = f"{counted.parents[1]}/counted/kernel/a.c"
    (counted / "gcov.json").write_text(document({name: found}))
    assert coverage.report(kernel, counted.parent) == status
    details = coverage.DETAILS.read_text().splitlines()
    assert details == [
        *(["kernel/a.c:1: / line"] if branches < 5 else []),
        *(f"kernel/a.c:{n}: - line" for n in range(lines + 1, 11)),
    ]


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    return object()


def test_no_counts_are_an_error(kernel: Any, tmp_path: Path, counted: Path) -> None:
    with pytest.raises(SetupError, match="no guest"):
        coverage.report(kernel, tmp_path / "nowhere")


def test_a_failed_test_fails_the_coverage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: Any
) -> None:
    asked = []

    def system(_: Any, session: vm.Session) -> int:
        asked.append(session.counters)
        return 1

    monkeypatch.setattr(kernels, "get", lambda _: kernel)
    monkeypatch.setattr(build, "workspace", lambda _: tmp_path)
    monkeypatch.setattr(suites, "system", system)
    monkeypatch.setattr(coverage, "report", lambda *_: 0)
    assert coverage.run(vm.Session("")) == 1
    assert asked == [tmp_path / "coverage"]
