# SPDX-License-Identifier: MIT
"""Every example does and says what it is there to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# A busy machine takes its time to start Python three times.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

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


@pytest.mark.parametrize("name", SAYS)
def test_example(name: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stdout
    rest = run.stdout
    for line in SAYS[name]:
        found = re.search(line, rest)
        assert found, f"no {line!r} in {run.stdout!r}"
        if name not in ("plain_fcntl", "revoked"):  # in which two processes print
            rest = rest[found.end() :]
    print(run.stdout)


def test_all_are_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAYS)
