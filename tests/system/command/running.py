# SPDX-License-Identifier: MIT
"""Runs dmabuf-sync as root or as a user without any rights, in a process of its own.

It is forked off, since to start Python anew takes long in the guest; so it has our files open.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dmabuf_sync.command.main import COMMANDS, main

_RICH = ("pyudev", "rich.console", "rich.live", "rich.table", "rich.text")
# Once, and not in every process that is forked off.
for _name in (*(f"dmabuf_sync.command.{row.module}" for row in COMMANDS.values()), *_RICH):
    importlib.import_module(_name)

NOBODY = 65534
PR_SET_DUMPABLE = 4


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its output as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """A dmabuf-sync that runs."""

    def __init__(self, *arguments: str, user: int = 0) -> None:
        out, theirs = os.pipe()
        err = os.memfd_create("err")
        self.pid = os.fork()
        if self.pid == 0:
            _become(arguments, user, theirs, err)
        os.close(theirs)
        self._out = os.fdopen(out)
        self._err = os.fdopen(err, "rb")
        self._ended = False

    def line(self) -> str:
        """The next line of its output."""
        return self._out.readline()

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.kill(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def outcome(self) -> Outcome:
        """Wait until it has ended; `out` is what was not read before."""
        with self._out, self._err:
            out = self._out.read()
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._ended = True
            err = os.pread(self._err.fileno(), os.fstat(self._err.fileno()).st_size, 0).decode()
        assert "Traceback" not in err, err
        return Outcome(status, out, err)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._out.close()
            self._err.close()


def _become(arguments: Sequence[str], user: int, out: int, err: int) -> NoReturn:
    status = 255
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        if user:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            # As after execve(2), without which others of the same user cannot look into it.
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)
        status = main(arguments)
        sys.stderr.flush()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 255
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
