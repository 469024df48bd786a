# SPDX-License-Identifier: MIT
"""Forked children, above all when somebody presses Ctrl-C, which all of them get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from dmabuf_sync.command.failure import Status
from dmabuf_sync.demo.process import Child

CTRL_C = """
import sys, time
import dmabuf_sync.command.failure as failure
from dmabuf_sync.demo.process import Child
import click, signal
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
try:
    with failure.reported():
        print("go", flush=True)
        while True:
            with Child(lambda: {work}) as child:
                {join}
except click.exceptions.Exit as ended:
    sys.exit(ended.exit_code)
"""


@pytest.mark.parametrize("work", ["time.sleep(60)", "None", "[0 for _ in range(10**5)]"])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, Status.INTERRUPTED), (signal.SIGTERM, Status.TERMINATED)]
)
def test_signals_for_all_end_all_without_a_word(
    work: str, number: signal.Signals, status: Status
) -> None:
    join = "child.join()" if "sleep" in work else "time.sleep(0.001); child.join()"
    for turn in range(3):
        code = CTRL_C.format(work=work, join=join)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with process:
            assert process.stdout and process.stderr
            assert process.stdout.readline() == b"go\n"
            time.sleep(turn * 0.02)  # anywhere in the loop
            os.killpg(process.pid, number)
            assert process.stderr.read() == b""  # it ends when all children have ended
        assert process.returncode == status


def test_an_error_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    with Child(lambda: [][0]) as child, pytest.raises(ChildProcessError, match="status 1"):
        child.join()
    assert capfd.readouterr().err == (
        f"process {child.pid}: IndexError('list index out of range')\n"
    )


def test_what_still_runs_is_killed() -> None:
    with Child(lambda: time.sleep(60)) as child:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
    child.kill()
