# SPDX-License-Identifier: MIT
"""The model of the queue: it keeps its promises, and a broken copy of it does not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

slow = pytest.mark.slow

MODEL = Path(__file__).resolve().parents[1] / "model" / "queue.pml"

pytestmark = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")), reason="needs spin and gcc: make test"
)

# What pan says when it has been everywhere, and found nothing or something.
COMPLETE = "errors: 0"
CUT_SHORT = "max search depth too small"
DEAD_END = "invalid end state"
STARVED = "acceptance cycle"
BROKEN = "assertion violated"


def verifier(folder: Path, *macros: str) -> Path:
    """Compile the verifier of the model with these macros."""
    options = [f"-D{macro}" for macro in macros]
    made = subprocess.run(
        ["spin", *options, "-a", str(MODEL)], cwd=folder, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stdout + made.stderr
    # Optimised it would compile for longer than it runs. NFAIR: room for all processes.
    compiler = ["gcc", "-w", "-O0", "-DNFAIR=3", "-o", "pan", "pan.c"]
    subprocess.run(compiler, cwd=folder, check=True)
    return folder / "pan"


def verify(pan: Path, *options: str) -> str:
    """Search all states; returns what pan reports."""
    command = [str(pan), "-m3000000", *options]
    done = subprocess.run(command, cwd=pan.parent, capture_output=True, text=True, timeout=55)
    assert CUT_SHORT not in done.stdout
    return done.stdout


def safety(pan: Path) -> str:
    """Assertions, dead ends and what monitor() watches."""
    return verify(pan, "-noclaim")


def starvation(pan: Path, task: int) -> str:
    """Does the task get what it waits for, if everybody who can go on does so in the end?"""
    return verify(pan, "-a", "-f", "-N", f"served_{task}")


@pytest.mark.parametrize("hangs", [1, pytest.param(2, marks=slow)])
def test_nothing_is_lost_or_granted_twice(tmp_path: Path, hangs: int) -> None:
    pan = verifier(tmp_path, f"HANGS={hangs}", "SIGNALLED=7")
    assert COMPLETE in safety(pan)


def test_nobody_starves(tmp_path: Path) -> None:
    pan = verifier(tmp_path, "SIGNALLED=0")
    for task in range(3):
        assert COMPLETE in starvation(pan, task)


@pytest.mark.parametrize(
    ("macro", "found"),
    [
        pytest.param("FORGET_SCAN_AT_RELEASE", BROKEN, marks=slow),
        pytest.param("FORGET_SCAN_AT_CANCEL", BROKEN, marks=slow),
        pytest.param("IGNORE_EARLIER", BROKEN, marks=slow),
        pytest.param("TRUST_READY", BROKEN, marks=slow),
        ("CLEAR_CANDIDATE_LATE", BROKEN),
        pytest.param("NEVER_OVERTAKE", DEAD_END, marks=slow),
        pytest.param("RELEASE_REVOKED", BROKEN, marks=slow),
    ],
)
def test_a_broken_copy_is_unsafe(tmp_path: Path, macro: str, found: str) -> None:
    assert found in safety(verifier(tmp_path, "HANGS=2", macro))


@pytest.mark.parametrize(
    ("macro", "task"), [pytest.param("IGNORE_EARLIER", 0, marks=slow), ("NEVER_REVOKE", 2)]
)
def test_a_broken_copy_starves_somebody(tmp_path: Path, macro: str, task: int) -> None:
    # Without the assertions, which are faster to find it.
    pan = verifier(tmp_path, "SIGNALLED=0", macro)
    assert STARVED in verify(pan, "-a", "-f", "-A", "-N", f"served_{task}")
