# SPDX-License-Identifier: MIT
"""Processes and their files, from /proc, as far as this user may look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

PROC = Path("/proc")
DMA_BUF = "/dmabuf:"
"""How the link of a dma-buf in /proc/PID/fd begins."""


@dataclass(frozen=True)
class OpenFile:
    """A descriptor of a process, and what it is open on."""

    pid: int
    fd: int
    link: str

    def stat(self) -> os.stat_result:
        """Of what it is open on. OSError: it was closed meanwhile."""
        return os.stat(PROC / str(self.pid) / "fd" / str(self.fd))

    def fdinfo(self) -> dict[str, str]:
        """The fields of /proc/PID/fdinfo/FD. OSError: it was closed meanwhile."""
        path = PROC / str(self.pid) / "fdinfo" / str(self.fd)
        fields: dict[str, str] = {}
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key, value.strip())
        return fields


def complete_pid(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """For the shell: processes that have a dma-buf open."""
    return [
        str(pid)
        for pid in pids()
        if str(pid).startswith(begun)
        and any(file.link.startswith(DMA_BUF) for file in open_files(pid))
    ]


def pids() -> list[int]:
    return sorted(int(name) for name in os.listdir(PROC) if name.isdecimal())


def comm(pid: int) -> str:
    """The name of a process, "" if it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def readable(pid: int) -> bool:
    """Whether this user may see the files of a process."""
    try:
        os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return False
    return True


def open_files(pid: int) -> Iterator[OpenFile]:
    """Its open files; none if it is gone or not this user's."""
    folder = PROC / str(pid) / "fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in sorted(names, key=int):
        try:
            yield OpenFile(pid, int(name), os.readlink(folder / name))
        except OSError:
            continue
