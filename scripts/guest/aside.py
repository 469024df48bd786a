# SPDX-License-Identifier: MIT
"""Something that runs beside something else, and is read afterwards."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from types import TracebackType

from .qemu import PR_SET_PDEATHSIG
from .report import SetupError, say

FAILED = 1


class Aside:
    """Runs a function in a process of its own; what it prints is kept until finish().

    To be used in a `with` statement: whoever leaves it early ends the process.
    """

    def __init__(self, function: Callable[[], int]) -> None:
        self._function = function
        self._output = tempfile.TemporaryFile()  # noqa: SIM115, closed by __exit__
        self._process = multiprocessing.get_context("fork").Process(target=self._run)

    def __enter__(self) -> Aside:
        sys.stdout.flush()
        sys.stderr.flush()
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()
        self._output.close()

    def finish(self) -> int:
        """Wait for the function, print what it printed, and return what it returned."""
        self._process.join()
        self._output.seek(0)
        sys.stdout.flush()
        shutil.copyfileobj(self._output, sys.stdout.buffer)
        sys.stdout.flush()
        code = self._process.exitcode
        return FAILED if code is None or code < 0 else code

    def _run(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        # SIGTERM unwinds the stack, so that a guest goes too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
        for stream in (1, 2):
            os.dup2(self._output.fileno(), stream)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        try:
            status = self._function()
        except SetupError as error:
            say(str(error))
            status = FAILED
        sys.exit(status)
