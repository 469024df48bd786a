# SPDX-License-Identifier: MIT
"""Task A locks {A, B} while task B locks {C, A}, again and again: the tangle that must not lock up.

Each task is a process. To prove that they exclude each other, both count in buffer A with a
read and a write that are not atomic: an intruder would make counts disappear.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from .. import Access, DmaBuf, Exporter, Sync
from .process import Child

_COUNTER = slice(0, 8)
_LOCK_TIMEOUT = 10.0  # seconds; a deadlock becomes TimeoutError


@dataclass(frozen=True)
class Tangle:
    """What came of the two tasks: rounds of each, the count in the buffer they share, seconds."""

    rounds: int
    counted: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.counted == 2 * self.rounds


def _task(name: str, buffers: Sequence[DmaBuf], shared: DmaBuf, rounds: int) -> None:
    with ExitStack() as stack:
        sync = stack.enter_context(Sync(name))
        for buffer in buffers:
            sync.add(buffer, Access.WRITE)
        memory = stack.enter_context(shared.map())
        for _ in range(rounds):
            with sync.locked(timeout=_LOCK_TIMEOUT):
                count = int.from_bytes(memory[_COUNTER], "little")
                memory[_COUNTER] = (count + 1).to_bytes(8, "little")


def run(rounds: int) -> Tangle:
    """Let both tasks do ``rounds`` rounds, without a pause in or between them.

    ChildProcessError when a task fails; one that waits 10 s for its locks does.
    """
    with ExitStack() as stack:
        exporter = stack.enter_context(Exporter())
        a, b, c = (
            stack.enter_context(exporter.allocate(os.sysconf("SC_PAGESIZE"), name=f"tangle {name}"))
            for name in "ABC"
        )
        begin = time.monotonic()
        tasks = [
            stack.enter_context(Child(partial(_task, "task A", (a, b), a, rounds))),
            stack.enter_context(Child(partial(_task, "task B", (c, a), a, rounds))),
        ]
        for task in tasks:
            task.join()
        seconds = time.monotonic() - begin
        with a.locked(Access.READ), a.map() as memory:
            counted = int.from_bytes(memory[_COUNTER], "little")
    return Tangle(rounds, counted, seconds)
