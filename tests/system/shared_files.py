# SPDX-License-Identifier: MIT
"""Processes that share their descriptors, as threads do, and so are one owner of locks."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

CLONE_FILES = 0x400
_CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
# PyDLL keeps the interpreter to itself during the call: the child goes on in it.
_libc = ctypes.PyDLL(None, use_errno=True)


def child_sharing_files(function: Callable[[], object]) -> int:
    """Run it in a process of its own that has this one's descriptors.

    The process is gone on return, and what it has locked stays, since nothing was closed. Returns
    its pid, which nobody has any more.
    """
    pid = int(_libc.syscall(_CLONE, CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return pid
