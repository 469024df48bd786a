# SPDX-License-Identifier: MIT
"""Every example does and says what it is there to show."""

from __future__ import annotations

import os
import re
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import NoReturn

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SAYS = {
    "plain_fcntl": ["parent: I write", "child: somebody writes, I wait", "child: I read"],
    "threads": ["4 threads counted to 250 each: 1000 of 1000"],
    "asyncio_tasks": [
        "engine: filled with 3",
        "reader: found [123], all the same: True",
        r"asyncio.timeout\(\) took the request back",
    ],
    "multi_buffer": [r"3 tasks moved 200 coins each, in a circle: \[0, 0, 0\] are left, 0 in all"],
    "camera": [r"frame \d+: 640x360, \d+ colours"] * 3,
    "numpy_views": [
        "every second pixel of every second row: True",
        "under a lock for reading: assignment destination is read-only",
        r"the engine took \d+\.\d ms",
    ],
    "handover": [
        r"consumer: frame 1: waited \d+ ms, whole: True",
        r"consumer: frame 3: waited \d+ ms, whole: True",
    ],
    "strict": [
        "ordinary buffer: 0.0, and nobody notices",
        r"(?s:Bus error.*strict\.py\", line \d+ in brightness\n)",
        "strict buffer: the process got SIGBUS",
        "mended: 0.0",
    ],
    "revoked": [
        "other: it is mine now",
        "writer: .* held past its deadline and revoked; once more",
        "writer: done, all of it is mine: True",
    ],
    "timeline": [
        r"\w+ of \d+ waited \d+\.\d ms on frame, which",
        r"\d+ had for W\n",
        r"\w+ of \d+ waited \d+\.\d ms on copy, which",
        r"\d+ had for W DMA\n",
        r"\d+ uses of buffers, 1 DMA job",
        "saved .*timeline.svg",
    ],
}


def run(path: Path, folder: Path) -> tuple[int, str]:
    """Run a script in a process that was forked off: to start Python anew takes long in the guest.

    Its status, and what it has printed on both streams.
    """
    sys.stdout.flush()
    output = os.memfd_create("output")
    child = os.fork()
    if child == 0:
        become(path, folder, output)
    with os.fdopen(output, "rb") as file:
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        return status, os.pread(output, os.fstat(file.fileno()).st_size, 0).decode()


def become(path: Path, folder: Path, output: int) -> NoReturn:
    """What the process does: it is python3 -W error PATH."""
    status = 1
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(folder)
        sys.argv = [str(path)]
        warnings.simplefilter("error")
        runpy.run_path(str(path), run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.mark.parametrize("name", SAYS)
def test_example(name: str, tmp_path: Path) -> None:
    status, rest = run(EXAMPLES / f"{name}.py", tmp_path)
    assert status == 0, rest
    said = rest
    for line in SAYS[name]:
        found = re.search(line, rest)
        assert found, f"no {line!r} in {said!r}"
        if name not in ("plain_fcntl", "revoked"):  # in which two processes print
            rest = rest[found.end() :]
    print(said)


def test_an_example_is_a_program(tmp_path: Path) -> None:
    """One as a user would start it."""
    words = [sys.executable, "-W", "error", EXAMPLES / "plain_fcntl.py"]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=50)


def test_all_are_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAYS)
