# SPDX-License-Identifier: MIT
"""Names: how reports and timelines call buffers, processes, jobs, and uses."""

from __future__ import annotations

from collections import Counter

from .accesses import WHOLE, Access
from .buffers import Buffer
from .history import History, Job, Use
from .recording import Recording


class Names:
    """Names things of one recording; buffers of the same name get their inode number beside it."""

    def __init__(self, recording: Recording, history: History) -> None:
        self._buffers = recording.buffers
        self._comms = history.comms
        seen = dict.fromkeys(use.ino for use in history.uses)
        seen |= dict.fromkeys(touch.ino for touch in history.touches)
        self._inodes = sorted(seen, key=lambda ino: (ino == "0", int(ino)))
        self._twice = {
            name
            for name, count in Counter(str(self._find(ino)) for ino in self._inodes).items()
            if count > 1
        }

    def _find(self, ino: str) -> Buffer:
        return self._buffers.get(ino) or Buffer(ino)

    def inodes(self) -> list[str]:
        """All buffers that were used, oldest first; "0" are those that were never exported."""
        return self._inodes

    def buffer(self, ino: str) -> str:
        """The name of a buffer."""
        name = str(self._find(ino))
        if ino == "0":
            return "not exported"
        return f"{name} ({ino})" if name in self._twice else name

    def size(self, ino: str) -> int:
        """Bytes; 0 if not known."""
        return self._find(ino).size

    def describe(self, ino: str) -> str:
        """What else is known of a buffer."""
        buffer = self._find(ino)
        parts = [f"inode {ino}"]
        if buffer.size:
            parts.append(f"{buffer.size} bytes")
        if buffer.exporter:
            parts.append(f"exported by {buffer.exporter}")
        return ", ".join(parts)

    def process(self, pid: int) -> str:
        """Command and pid."""
        return f"{self._comms.get(pid, '?')} {pid}" if pid else "kernel"

    def pid_first(self, pid: int) -> str:
        """As process(), for where the end may be cut off."""
        return f"{pid} {self._comms.get(pid, '?')}" if pid else "kernel"

    def use(self, use: Use) -> str:
        """Who uses what, and how."""
        return f"{self.process(use.pid)} ({use.kind} {use.mode} {self.buffer(use.ino)})"

    @staticmethod
    def bytes(access: Access) -> str:
        """The bytes it has or asks for, both ends included."""
        return " ".join(
            "all" if (piece.start, piece.end) == (0, WHOLE) else
            f"{piece.start}-{'end' if piece.end == WHOLE else piece.end}"
            for piece in access.pieces
        )

    @staticmethod
    def job(job: Job) -> str:
        """A job's device and fence."""
        return f"{job.device} {job.context}:{job.seqno}"
