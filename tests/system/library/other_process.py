# SPDX-License-Identifier: MIT
"""Other: another process with the same buffers."""

import mmap
import time

from actors import Actor

from dmabuf_sync import (
    Access,
    DmaBuf,
)

PAGE = mmap.PAGESIZE
SIZE = 16 * PAGE

BUFFERS: list[DmaBuf] = []
"""What an actor that is forked off knows."""


def do(line: str) -> str:
    """In an actor: run a line on its first buffer `buf`, or on `buffers`; what became of it."""
    known = {"buf": BUFFERS[0], "buffers": BUFFERS, "READ": Access.READ, "WRITE": Access.WRITE}
    try:
        exec(line, known)
    except OSError as error:
        return type(error).__name__
    return "ok"


class Other:
    """Another process with the same buffers, which runs a line of Python at a time."""

    def __init__(self, *buffers: DmaBuf) -> None:
        BUFFERS[:] = buffers
        self.actor = Actor()
        BUFFERS.clear()

    def start(self, line: str) -> None:
        self.actor.start(do, line)

    def result(self) -> str:
        return str(self.actor.result())

    def run(self, line: str) -> str:
        self.start(line)
        return self.result()

    def waits(self) -> bool:
        """Whether it is still at it after a while: it waits in the kernel."""
        time.sleep(0.2)
        return self.actor.running()
