# SPDX-License-Identifier: MIT
"""Checks without running: ruff and mypy for Python; checkpatch, compilers, analysers for C."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from . import analysis, build, debug_kernel, kernels, paths, tree, venv
from .report import run, say, step
from .sandbox import Sandbox

PYTHON = ("examples", "python", "scripts", "tests")
C = ("kernel", "tests/module")
CHECKPATCH = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")
# What checkpatch cannot know about a file.
EXCUSED = {
    # The only place that may ask for the version.
    "compat.h": ("LINUX_VERSION_CODE", "CONSTANT_COMPARISON"),
    # TRACE_EVENT() has a layout of its own.
    "trace.h": ("OPEN_ENDED_LINE", "PARENTHESIS_ALIGNMENT"),
    # A loop macro.
    "dsync.h": ("MACRO_ARG_REUSE",),
    # It is there to change one.
    "hook.c": ("CONST_STRUCT",),
    # BIT() is not for user space.
    "uapi": ("BIT_MACRO",),
}


def python() -> int:
    """Check the Python part; return the worst status."""
    interpreter = str(venv.get("lint"))
    folders = [name for name in PYTHON if (paths.ROOT / name).is_dir()]
    env = {**os.environ, "MYPYPATH": "python:scripts"}
    commands = [
        ["ruff", "check", *folders],
        ["mypy", "--strict", "python/dmabuf_sync", "scripts/guest", "examples"],
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


def excused(path: Path) -> list[str]:
    """Return the checkpatch types that do not apply to this file."""
    names = {path.name, *(parent.name for parent in path.parents)}
    return [kind for name, kinds in EXCUSED.items() if name in names for kind in kinds]


def kernel() -> int:
    """Check the kernel part; return the worst status of checkpatch."""
    sandbox = Sandbox(
        tree.get(kernels.RECIPES[kernels.DEFAULT]), mounts={checkpatch(): "/checkpatch"}
    )
    groups: dict[str, list[str]] = {}
    for path in (path for top in C for path in build.sources(paths.ROOT / top)):
        if path.suffix in (".c", ".h"):
            relative = path.relative_to(paths.ROOT)
            groups.setdefault(",".join(excused(relative)), []).append(str(relative))
    say(f"checkpatch --strict on {sum(map(len, groups.values()))} files")
    words = ["perl", "/checkpatch/checkpatch.pl", "--no-tree", "--strict", "--quiet"]
    words += ["--terse", "--no-summary", "--show-types"]
    return max(
        sandbox.run([*words, *(["--ignore", kinds] if kinds else []), "--file", *files], stdout=1)
        for kinds, files in groups.items()
    )


def everything() -> int:
    """Run every check; return the worst status."""
    return max(python(), kernel(), analysis.everything())
