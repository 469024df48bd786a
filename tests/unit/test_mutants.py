# SPDX-License-Identifier: MIT
"""The mutants: their patches fit the sources, and name tests that there are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from guest import mutants, paths, vm
from guest.mutants import Mutant
from guest.report import SetupError

ALL = mutants.find()

TEXT = """Something is broken.

Why it matters.

Tests: tests/a.py::test_one tests/b.py
Append: swiotlb=force quiet
Lost: caught
--- a/kernel/one.c
+++ b/kernel/one.c
"""


@pytest.mark.skipif(not shutil.which("patch"), reason="needs patch: make test")
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_patch_fits(mutant: Mutant) -> None:
    command = ["patch", "--dry-run", "--strip=1", "--forward", "--reject-file=-"]
    command += [f"--directory={paths.ROOT}", f"--input={mutant.path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_its_tests_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        text = (paths.ROOT / path).read_text()
        assert f"def {name.partition('[')[0]}(" in text, test


def test_header(tmp_path: Path) -> None:
    path = tmp_path / "name.patch"
    path.write_text(TEXT)
    mutant = mutants.read(path)
    assert mutant.name == "name"
    assert mutant.title == "Something is broken."
    assert mutant.tests == ("tests/a.py::test_one", "tests/b.py")
    assert mutant.append == ("swiotlb=force", "quiet")
    assert mutant.may_be_lost


@pytest.mark.parametrize("missing", ["Something is broken.", "Tests: tests/a.py::test_one"])
def test_header_without_title_or_tests(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "name.patch"
    path.write_text(TEXT.replace(missing, "", 1))
    if missing.startswith("Tests"):
        path.write_text(TEXT.replace("Tests:", "tests:"))
    with pytest.raises(SetupError, match="no title or no tests"):
        mutants.read(path)


def test_unknown_name() -> None:
    with pytest.raises(SetupError, match="MUTANT=nothing"):
        mutants.find(["nothing"])


@pytest.mark.parametrize(
    ("status", "may_be_lost", "verdict"),
    [
        (1, False, "caught"),
        (0, True, "SURVIVED"),
        (vm.LOST, True, "caught"),
        (vm.LOST, False, "guest lost"),
        (5, True, "pytest ended with status 5"),
    ],
)
def test_verdict(status: int, may_be_lost: bool, verdict: str) -> None:
    mutant = Mutant(Path("x.patch"), "x", ("y",), (), may_be_lost)
    assert mutants.judge(mutant, status) == verdict
