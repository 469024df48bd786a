# SPDX-License-Identifier: MIT
"""Runs a program inside a tree on this machine, seeing the project folder and little else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import host, paths
from .tree import Tree

LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
TOPS = ("usr", "etc", "var", "boot")


@dataclass(frozen=True)
class Sandbox:
    """A tree and the folders that can be seen from in it.

    `readable` and `writable` folders appear at their own paths, `mounts` (folder: path inside)
    elsewhere, writable. The project folder is readable in any case.
    """

    tree: Tree
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    mounts: Mapping[Path, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = str(paths.ROOT)

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command line that runs `words` in here."""
        line = ["bwrap", "--die-with-parent", "--unshare-pid", "--clearenv"]
        # An empty root with the tree's folders mounted into it can hold mount points for paths
        # that the tree does not have.
        for name in TOPS:
            line += ["--ro-bind", str(self.tree.root / name), f"/{name}"]
        for name, target in LINKS.items():
            line += ["--symlink", target, f"/{name}"]
        line += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/root"]
        for path in (paths.ROOT, *self.readable):
            line += ["--ro-bind", str(path), str(path)]
        for path in self.writable:
            line += ["--bind", str(path), str(path)]
        for source, inside in self.mounts.items():
            line += ["--bind", str(source), inside]
        env = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8", **self.env}
        for name, value in env.items():
            line += ["--setenv", name, value]
        return [*line, "--chdir", self.cwd, *words]

    def run(self, words: Sequence[str], *, stdout: int | IO[bytes] | None = None) -> int:
        """Run `words` in here and return their exit status.

        Their standard output goes to standard error unless another file is given.
        """
        host.require(host.SANDBOX)
        line = self.command(words)
        out = sys.stderr if stdout is None else stdout
        return subprocess.run(line, stdin=subprocess.DEVNULL, stdout=out).returncode
