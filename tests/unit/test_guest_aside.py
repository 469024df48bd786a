# SPDX-License-Identifier: MIT
"""What runs beside something else."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from guest.aside import Aside
from guest.report import SetupError


def test_output_comes_at_the_end(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def work() -> int:
        subprocess.run(["echo", "of a child"], check=True)
        print("of its own")
        return 3

    with Aside(work) as aside:
        print("meanwhile")
        assert aside.finish() == 3
    assert capfdbinary.readouterr().out == b"meanwhile\nof a child\nof its own\n"


def test_set_up_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise SetupError("no such tree")

    with Aside(work) as aside:
        assert aside.finish() == 1
    assert "guest: no such tree" in capfd.readouterr().out


def test_one_that_is_killed_has_failed() -> None:
    with Aside(lambda: os.kill(os.getpid(), 9) or 0) as aside:
        assert aside.finish() == 1


def test_leaving_early_ends_it(tmp_path: os.PathLike[str]) -> None:
    begun, left = os.path.join(tmp_path, "begun"), os.path.join(tmp_path, "left")

    def work() -> int:
        try:
            os.mkdir(begun)
            while True:
                time.sleep(60)
        finally:
            os.mkdir(left)

    with pytest.raises(KeyboardInterrupt), Aside(work):
        while not os.path.isdir(begun):
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert os.path.isdir(left)
