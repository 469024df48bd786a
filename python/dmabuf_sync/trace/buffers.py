# SPDX-License-Identifier: MIT
"""What buffers are called: found in /proc while the processes that use them are there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "/dmabuf:"


@dataclass(frozen=True)
class Buffer:
    """A dma-buf: its inode number, the name its owner gave it, and its size in bytes."""

    ino: str
    name: str = ""
    exporter: str = ""
    size: int = 0

    def __str__(self) -> str:
        return self.name or f"buffer {self.ino}"


class Finder:
    """Asks /proc for the names of buffers, once for each buffer that a process has."""

    def __init__(self) -> None:
        self.known: dict[str, Buffer] = {}
        self._tried: set[tuple[str, int]] = set()

    def find(self, ino: str, pid: int) -> Iterator[Buffer]:
        """Yield the buffers of the process that are new, if it may have this one and is there."""
        if ino in self.known or (ino, pid) in self._tried:
            return
        self._tried.add((ino, pid))
        for buffer in _of_process(pid):
            if buffer.ino not in self.known:
                self.known[buffer.ino] = buffer
                yield buffer


def _of_process(pid: int) -> Iterator[Buffer]:
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link).startswith(_PREFIX):
                    yield _read(link, Path(f"/proc/{pid}/fdinfo", link.name))


def _read(link: Path, info: Path) -> Buffer:
    fields: dict[str, str] = {}
    for line in info.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":\t")
        # The name comes last and may have lines of its own: they are no fields.
        fields.setdefault(key, value)
    return Buffer(
        ino=str(link.stat().st_ino),
        name=fields.get("name", ""),
        exporter=fields.get("exp_name", ""),
        size=int(fields.get("size", 0)),
    )
