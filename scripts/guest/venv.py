# SPDX-License-Identifier: MIT
"""Virtual environments for the Python programs this machine runs, in the cache."""

from __future__ import annotations

import sys
from pathlib import Path

from . import host, paths
from .report import run, step

REQUIREMENTS = Path(__file__).parent


def get(name: str) -> Path:
    """Return the Python of the environment with what requirements-`name`.txt lists."""
    requirements = REQUIREMENTS / f"requirements-{name}.txt"
    key = paths.digest(requirements.read_text(), sys.version, sys.prefix)
    folder = paths.cache() / "venvs" / f"{name}-{key}"
    if not folder.is_dir():
        host.require(venv=True)

    def make(aside: Path) -> None:
        with step(f"installing {requirements.name} into a virtual environment"):
            # A process of its own: this one may have started before ensurepip was installed.
            log = aside / "pip.log"
            run([sys.executable, "-m", "venv", aside], log=log)
            python = aside / "bin" / "python"
            run([python, "-m", "pip", "install", "--no-input", "-r", requirements], log=log)

    # Only `python -m NAME` is used of it: scripts in bin/ name the folder it was made in.
    return paths.make_once(folder, make) / "bin" / "python"
