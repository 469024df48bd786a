# SPDX-License-Identifier: MIT
"""dmabuf-sync vm finds its checkout and tells the guest's scripts what to run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dmabuf_sync.command import vm
from dmabuf_sync.command.failure import Failure, Status

ROOT = Path(__file__).resolve().parents[2]
GUEST = """\
import json, os, sys
names = "CMD KERNEL SHARE APPEND CPUS ICOUNT TIMEOUT".split()
told = {name: os.environ[name] for name in names if name in os.environ}
print(json.dumps([sys.argv[1:], os.getcwd(), told]))
sys.exit(9)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What is enough of a checkout; its guest says what it was told and ends with status 9."""
    root = tmp_path / "checkout"
    for folder in ("scripts/guest", "kernel/dmabuf_sync", "docs/deep"):
        (root / folder).mkdir(parents=True)
    (root / "Makefile").touch()
    (root / "scripts/guest/__main__.py").write_text(GUEST)
    return root


def test_checkout_is_found_from_inside(checkout: Path) -> None:
    assert vm.find_checkout(checkout) == checkout
    assert vm.find_checkout(checkout / "docs/deep") == checkout


def test_checkout_is_found_from_the_package(tmp_path: Path) -> None:
    assert vm.find_checkout(tmp_path) == ROOT


def test_no_checkout_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "_PACKAGE", Path("/usr/lib/python3/dist-packages/x/vm.py"))
    with pytest.raises(Failure, match="needs a checkout") as caught:
        vm.find_checkout(tmp_path)
    assert caught.value.status is Status.MISSING


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["uname -r; ls"], "uname -r; ls"),
        (["--", "sh", "-c", "echo $$ 'a b'"], "sh -c 'echo $$ '\"'\"'a b'\"'\"''"),
    ],
)
def test_guest_is_told(checkout: Path, words: list[str], command: str) -> None:
    options = ["--kernel=6.1", "--cpus=1", f"--share={checkout}", "--icount", "--timeout=5"]
    done = subprocess.run(
        [sys.executable, "-m", "dmabuf_sync", "vm", *options, *words],
        cwd=checkout / "docs",
        env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "APPEND": "of another time"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 9, done.stderr
    arguments, folder, told = json.loads(done.stdout)
    assert (arguments, folder) == (["vm"], str(checkout))
    assert told == {
        "CMD": command,
        "KERNEL": "6.1",
        "CPUS": "1",
        "SHARE": str(checkout),
        "ICOUNT": "1",
        "TIMEOUT": "5",
    }
