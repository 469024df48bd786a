# SPDX-License-Identifier: MIT
"""Errors: the kernel's stay OSError with their errno; here are the few with a name of their own."""

from __future__ import annotations

import errno
import os


class Deadlock(OSError):
    """EDEADLK: processes that hold fcntl locks would wait for each other in a circle.

    Unlock something, then try again.
    """


class LockRevoked(TimeoutError):
    """ETIMEDOUT: a lock of yours was held past its deadline and given to somebody who waited.

    The kernel says it once, at your next call on that buffer. What you wrote since the deadline
    may be mixed with the next holder's work; what you read may be, too. ``except TimeoutError``
    catches this as well: where a wait that ran out means something else, catch this before it.
    """


class JobFailed(OSError):
    """A DMA job ended with an error; errno is the job's, ETIMEDOUT for instance if it hung."""


def kernel_error(number: int, doing: str) -> OSError:
    """The exception for errno `number`; `doing` says in a few words what failed.

    OSError itself picks BlockingIOError for EAGAIN, TimeoutError for ETIMEDOUT and so on.
    """
    kind = Deadlock if number == errno.EDEADLK else OSError
    return kind(number, f"{doing}: {os.strerror(number)}")


def revoked(doing: str) -> LockRevoked:
    """The exception for an ETIMEDOUT that means a revoked hold."""
    return LockRevoked(errno.ETIMEDOUT, f"{doing}: the lock was held past its deadline and revoked")
