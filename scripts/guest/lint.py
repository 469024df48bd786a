# SPDX-License-Identifier: MIT
"""The style checks: ruff and mypy for Python, checkpatch for the kernel part."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from . import debug_kernel, kernels, paths, tree, venv
from .report import run, say, step
from .sandbox import Sandbox

PYTHON = ("python", "scripts", "tests")
CHECKPATCH = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")
# Kbuild files and headers as well: checkpatch knows them by name.
KERNEL = ("*.c", "*.h")


def python() -> int:
    """Check the Python part; return the worst status."""
    interpreter = str(venv.get("lint"))
    folders = [name for name in PYTHON if (paths.ROOT / name).is_dir()]
    env = {**os.environ, "MYPYPATH": "python:scripts"}
    commands = [
        ["ruff", "check", *folders],
        ["mypy", "--strict", "python/dmabuf_sync", "scripts/guest"],
    ]
    statuses = []
    for command in commands:
        say(" ".join(command))
        words = [interpreter, "-m", *command]
        statuses.append(subprocess.run(words, cwd=paths.ROOT, env=env).returncode)
    return max(statuses)


def checkpatch() -> Path:
    """Return a folder with checkpatch.pl and what it reads, from Debian's kernel source."""
    builder = tree.get(debug_kernel.BUILDER)
    folder = paths.cache() / "kernels" / f"checkpatch-{builder.folder.name}"

    def unpack(aside: Path) -> None:
        with step("unpacking checkpatch"):
            name = debug_kernel.PACKAGE
            archive = builder.root / "usr/src" / f"{name}.tar.xz"
            members = [f"{name}/scripts/{file}" for file in CHECKPATCH]
            run(["tar", "-xf", archive, "-C", aside, "--strip-components=2", *members])

    return paths.make_once(folder, unpack)


def kernel() -> int:
    """Check the kernel part; return checkpatch's status."""
    tools = checkpatch()
    sources = [
        str(path.relative_to(paths.ROOT))
        for pattern in KERNEL
        for path in sorted((paths.ROOT / "kernel").rglob(pattern))
        if not path.name.endswith(".mod.c")
    ]
    say(f"checkpatch --strict on {len(sources)} files")
    words = ["perl", "/checkpatch/checkpatch.pl", "--no-tree", "--strict", "--quiet"]
    words += ["--terse", "--no-summary", "--file", *sources]
    sandbox = Sandbox(tree.get(kernels.RECIPES[kernels.DEFAULT]), mounts={tools: "/checkpatch"})
    return sandbox.run(words, stdout=1)


def everything() -> int:
    return max(python(), kernel())
