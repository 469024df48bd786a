# SPDX-License-Identifier: MIT
"""Programs that know nothing of us, and the dma-bufs they have."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Mapping

SYS_PIDFD_GETFD = 438


class Client:
    """A running program; `pipe` is what it prints, to `stderr` too unless that goes elsewhere."""

    def __init__(
        self, *command: str, env: Mapping[str, str] | None = None, stderr: int = subprocess.STDOUT
    ) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=env)
        assert self.process.stdout
        self.pipe = self.process.stdout.fileno()

    def buffers(self) -> list[int]:
        """Its own descriptors of its dma-bufs."""
        folder = f"/proc/{self.process.pid}/fd"
        found = []
        for name in sorted(os.listdir(folder), key=int):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if "dmabuf" in os.readlink(f"{folder}/{name}"):
                    found.append(int(name))
        return found

    def take_buffers(self) -> list[int]:
        """Our own descriptors of its dma-bufs."""
        libc = ctypes.CDLL(None, use_errno=True)
        pidfd = os.pidfd_open(self.process.pid)
        taken = []
        for number in self.buffers():
            fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, number, 0)
            assert fd >= 0, os.strerror(ctypes.get_errno())
            taken.append(fd)
        os.close(pidfd)
        return taken

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
