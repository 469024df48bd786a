# SPDX-License-Identifier: MIT
"""Handle: an object that owns a file descriptor."""

from __future__ import annotations

import os
import select
import warnings
from types import TracebackType
from typing import NoReturn, Self

from ._system import FileLike, descriptor, remaining_ms


class Handle:
    """Owns a file descriptor: fileno(), close(), ``with``.

    Close it once no other thread uses it.
    """

    _fd = -1

    def __init__(self, fd: int) -> None:
        self._fd = descriptor(fd)

    @classmethod
    def _made(cls, fd: int) -> Self:
        """The object for a descriptor that the kernel has just made, and that must not be lost.

        So nobody asks what it is, as the constructor does for those that come from elsewhere: that
        may fail.
        """
        handle = cls.__new__(cls)
        Handle.__init__(handle, fd)
        return handle

    def fileno(self) -> int:
        """The file descriptor, which stays this object's; ValueError once it is closed."""
        if self._fd < 0:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._fd < 0

    def close(self) -> None:
        """Close the file descriptor; may be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        self.fileno()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._fd >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=1)
            self.close()

    def __reduce__(self) -> NoReturn:
        # A copy would close the file descriptor a second time.
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled; multiprocessing can pass some"
            " kinds on, send_fds() all"
        )

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self._fd}"
        return f"<{type(self).__name__} {state}>"


def poll(file: FileLike, events: int, deadline: int) -> int:
    """Wait for one of `events` (or POLLERR, POLLHUP) on `file`; 0 when `deadline` came first."""
    poller = select.poll()
    poller.register(descriptor(file), events)
    while True:
        left = remaining_ms(deadline)
        for _, happened in poller.poll(left):
            return happened
        if left == 0:
            return 0
