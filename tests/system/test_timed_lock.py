# SPDX-License-Identifier: MIT
"""The timed lock where it is not fcntl(2): an ioctl that looks its descriptor up once."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from actors import Actor, until
from locks import WRITE, lock, unlock
from state import accesses, until_waiting, waiting

from dmabuf_sync import Access, DmaBuf

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]

# What an actor has, until it dies: its threads, and what they met.
_has: list[Any] = []


def _wait_in_a_thread(fd: int) -> None:
    """A thread waits for a timed lock on a descriptor of its own, and the caller closes that."""
    spare = os.dup(fd)
    dmabuf = DmaBuf(spare)
    met: list[int | None] = []

    def wait() -> None:
        try:
            dmabuf.lock(Access.WRITE, timeout=100)
        except OSError as error:
            met.append(error.errno)

    thread = threading.Thread(target=wait, daemon=True)
    # The object stays: it would close whatever has that number by then.
    _has.extend((dmabuf, thread, met))
    thread.start()
    until(lambda: os.getpid() in waiting(fd))
    os.close(spare)


def _met() -> list[int | None]:
    _, thread, met = _has
    thread.join()
    return list(met)


def test_descriptor_is_closed_meanwhile(
    buf: int, actors: Actors, set_parameter: SetParameter
) -> None:
    """As with fcntl(): nobody could give that lock back before the process exits."""
    set_parameter("hold_timeout_ms", 60_000)
    asking, next_one = actors(2)
    lock(buf, WRITE)
    asking.call(_wait_in_a_thread, buf)
    next_one.start(lock, buf, WRITE)
    until_waiting(next_one, buf)
    unlock(buf)
    assert asking.call(_met) == [errno.EBADF]
    next_one.result()
    assert [access.pid for access in accesses(buf)] == [next_one.pid]


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE])
def test_another_descriptor_of_the_buffer_is_closed(buf: int, access: Access) -> None:
    """All the process's locks go then, as fcntl(2) has it."""
    with DmaBuf(os.dup(buf)) as dmabuf:
        dmabuf.lock(access, timeout=0)
        os.close(os.dup(buf))
        assert accesses(buf) == []
