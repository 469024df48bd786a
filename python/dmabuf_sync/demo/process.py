# SPDX-License-Identifier: MIT
"""A forked child, which keeps the open dma-bufs, as one object."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """Runs ``work()`` in a forked process; leaving the ``with`` block kills what still runs.

    A signal that asks it to end does so without a word: the parent has something to say. Fork
    before threads are started: the child has only the thread that forked.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        sys.stdout.flush()
        self.pid = 0
        self._running = False
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            # In the child, nobody may handle a signal as the parent does.
            signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
            self.pid = os.fork()
            if self.pid == 0:
                _run(work, before)
            self._running = True
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:  # what the handler of a signal raises
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        # A signal may have come between its end and the note of it.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            if self._running:
                os.kill(self.pid, signal.SIGKILL)
                self._wait()

    def join(self) -> None:
        """Wait until it ends; ChildProcessError when it did not end well."""
        status = self._wait()
        if status:
            raise ChildProcessError(f"process {self.pid} ended with status {status}")

    def sleeping(self) -> bool:
        """It waits in the kernel, as far as its scheduler can tell."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] in "SD"

    def _wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self._running = False
        return os.waitstatus_to_exitcode(status)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _run(work: Callable[[], None], mask: set[int | signal.Signals]) -> NoReturn:
    """What the child does; it never returns into the parent's code."""
    status = 1
    try:
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        work()
        status = 0
    except BaseException as error:
        # Not print(): sys.stderr may be a progress bar's, whose thread the child has not.
        os.write(2, f"process {os.getpid()}: {error!r}\n".encode(errors="replace"))
    finally:
        os._exit(status)
