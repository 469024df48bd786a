# SPDX-License-Identifier: MIT
"""Actors: processes that lock when a test tells them to.

An actor is forked off with the buffers it knows and does one thing at a time:

    with Actor() as other:
        other.start(lock, buf, WRITE)      # begins; the actor may block in it
        until_waiting(other)               # the kernel says it is waiting
        other.result()                     # what it returned, or its OSError

Functions run in the actor; what they return must be picklable. An actor lives
until the test ends, or `kill()` is called.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

PATIENCE = 20.0
"""Seconds after which something that should have happened is taken not to happen."""


class Actor:
    """A forked process. It knows all that this process knew when it was made."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            # Not the test runner's: a killed run must not leave actors behind.
            with contextlib.suppress(BaseException):
                _act(theirs)
            os._exit(0)
        theirs.close()
        self._socket = ours
        self._dead = False

    def start(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Let the actor call a function; does not wait for it."""
        self._socket.send(pickle.dumps((function, args, kwargs)))

    def running(self) -> bool:
        """Is the actor still in the last function it was told to call?"""
        return not select.select([self._socket], [], [], 0)[0]

    def result(self, timeout: float = PATIENCE) -> Any:
        """What the function returned; raises what it raised. TimeoutError if it does not return."""
        if not select.select([self._socket], [], [], timeout)[0]:
            raise AssertionError(f"actor {self.pid} is still waiting after {timeout} s")
        data = self._socket.recv(1 << 20)
        if not data:
            raise AssertionError(f"actor {self.pid} has died")
        ok, value = pickle.loads(data)
        if not ok:
            raise value
        return value

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """start() and result()."""
        self.start(function, *args, **kwargs)
        return self.result()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if not self._dead:
            self._dead = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._socket.close()

    def quit(self) -> None:
        """Let the process exit by itself, and wait for it."""
        self._dead = True
        self._socket.send(pickle.dumps(None))
        os.waitpid(self.pid, 0)
        self._socket.close()

    def __enter__(self) -> Actor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def _act(channel: socket.socket) -> None:
    while data := channel.recv(1 << 20):
        order = pickle.loads(data)
        if order is None:
            return
        function, args, kwargs = order
        try:
            reply = True, function(*args, **kwargs)
        except OSError as error:
            reply = False, OSError(error.errno, error.strerror)
        except BaseException:
            reply = False, AssertionError(traceback.format_exc())
        channel.send(pickle.dumps(reply))


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """Wait for something that will happen by itself; returns what `condition` returned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {PATIENCE} s")
        time.sleep(0.002)
