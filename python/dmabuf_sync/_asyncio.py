# SPDX-License-Identifier: MIT
"""Waiting in asyncio: for a file descriptor, and for a system call that only blocks.

asyncio itself is imported by who waits: programs that do not, and the command, start sooner.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._handle import poll
from ._system import FileLike, descriptor
from ._uapi import lib

if TYPE_CHECKING:
    import asyncio

Interruptible = Callable[[Callable[[], bool]], None]
"""A blocking call. It is passed a function and asks that after each EINTR whether to give up."""


async def ready(file: FileLike, event: int) -> None:
    """Wait until poll(2) reports `event`, which is POLLIN or POLLOUT, or an error on `file`.

    A loop takes one reader for each file descriptor, so every waiter gets a duplicate. Never to be
    used on a dma-buf: closing the duplicate would drop this process's fcntl locks.
    """
    if poll(file, event, 0):
        return
    import asyncio

    loop = asyncio.get_running_loop()
    happened = loop.create_future()
    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if event == select.POLLIN
        else (loop.add_writer, loop.remove_writer)
    )
    duplicate = os.dup(descriptor(file))

    def set_happened() -> None:
        if not happened.done():
            happened.set_result(None)

    try:
        add(duplicate, set_happened)
        await happened
    finally:
        remove(duplicate)
        os.close(duplicate)


async def in_thread(call: Interruptible, undo: Callable[[], None]) -> None:
    """Run the blocking `call` in a thread of its own; cancelling takes it back.

    fcntl(2) locks have no file descriptor to poll, and asking for one again and again in short
    slices would go to the back of the queue each time. So a thread waits, once; the POSIX lock it
    gets is the process's. To cancel it, a signal with an empty handler ends its system call with
    EINTR, whereupon the kernel has removed the request; the signal is repeated, as one that arrives
    just before the system call is lost. If the call succeeded all the same, `undo` is called. A
    thread for each call, not a pool's: a full pool of waiters might keep out whoever would unlock.
    """
    import asyncio

    waiter = _Waiter(call, undo, asyncio.get_running_loop())
    waiter.start()
    try:
        # wait() leaves the future alone when this task is cancelled.
        await asyncio.wait([waiter.done])
    except asyncio.CancelledError:
        waiter.cancelled = True
        while not waiter.done.done():
            waiter.interrupt()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([waiter.done], timeout=0.01)
        if waiter.done.exception() is None:
            undo()
        raise
    waiter.done.result()


class _Waiter(threading.Thread):
    def __init__(
        self,
        call: Interruptible,
        undo: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(name="dmabuf-sync lock_async", daemon=True)
        self.cancelled = False
        self.done: asyncio.Future[None] = loop.create_future()
        self._call = call
        self._undo = undo
        self._signal = lib.uapi_interrupt_signal()
        if self._signal < 0:
            raise RuntimeError("no real-time signal is free: none to cancel a lock with")
        self._guard = threading.Lock()
        self._calling = True

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [self._signal])
        error: BaseException | None = None
        try:
            self._call(lambda: self.cancelled)
        except BaseException as raised:
            error = raised
        with self._guard:
            self._calling = False
        try:
            self.done.get_loop().call_soon_threadsafe(self._finish, error)
        except RuntimeError:  # the loop is closed: nobody is there to unlock
            if error is None:
                self._undo()

    def _finish(self, error: BaseException | None) -> None:
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    def interrupt(self) -> None:
        with self._guard:  # the thread must not end between the check and the signal
            if self._calling and self.ident is not None:
                signal.pthread_kill(self.ident, self._signal)
