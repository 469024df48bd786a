# SPDX-License-Identifier: MIT
"""Python packages that Debian lacks: virtual environments for programs that this machine runs, and
folders for the Python of a tree. Both are in the cache."""

from __future__ import annotations

import sys
from pathlib import Path

from . import host, paths
from .report import SetupError, run, step
from .tree import Tree

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


def beside(base: Tree, name: str) -> Path:
    """Return a folder with what requirements-`name`.txt lists, for PYTHONPATH in the tree."""
    requirements = REQUIREMENTS / f"requirements-{name}.txt"
    found = sorted((base.root / "usr/bin").glob("python3.[0-9]*[0-9]"))
    if not found:
        raise SetupError(f"{base.root} has no Python")
    version = found[-1].name.removeprefix("python")
    key = paths.digest(requirements.read_text(), version)
    folder = paths.cache() / "venvs" / f"{name}-for-{version}-{key}"
    if folder.is_dir():
        return folder
    pip = get("vm")

    def make(aside: Path) -> None:
        with step(f"installing {requirements.name} for Python {version}"):
            log = aside / "pip.log"
            kind = ["--only-binary=:all:", "--python-version", version, "--no-compile"]
            install = ["install", "--no-input", *kind, "--target", str(aside)]
            run([pip, "-m", "pip", *install, "-r", requirements], log=log)

    return paths.make_once(folder, make)
