# SPDX-License-Identifier: MIT
"""What the exporter of one buffer does keeps nobody from using another buffer."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from actors import Actor
from blits import PATIENCE
from driver import export, fails, slow

from dmabuf_sync import Blitter, DmaBuf

Actors = Callable[[int], list[Actor]]
Make = Callable[[int], list[DmaBuf]]

pytestmark = pytest.mark.usefixtures("_driver_module")


def _fill(fd: int) -> None:
    with Blitter() as blitter, blitter.fill(fd, 1) as job:
        job.wait(PATIENCE)


def test_an_exporter_that_does_not_attach(make: Make, actors: Actors) -> None:
    """Others submit jobs on new buffers, and on such that are attached; and get rid of them."""
    one, other = make(2)
    theirs = export(0)
    stuck, free = actors(2)
    with Blitter() as blitter, slow("attach"):
        stuck.start(_fill, theirs)
        for _ in range(3):
            free.call(_fill, one.fileno())
            with blitter.fill(other, 2) as job:
                job.wait(PATIENCE)
        assert stuck.running()
    # There is no memory behind it.
    with fails(errno.ENODEV):
        stuck.result()
    os.close(theirs)


def test_who_waits_for_it_can_be_killed(actors: Actors) -> None:
    theirs = export(0)
    (stuck,) = actors(1)
    with slow("attach"):
        stuck.start(_fill, theirs)
        assert stuck.running()
        stuck.kill()
    os.close(theirs)


def test_one_attachment_for_all_who_come_at_once(make: Make, actors: Actors) -> None:
    """While it is made for the first, others look for it, too."""
    (buffer,) = make(1)
    crowd = actors(4)
    for _ in range(5):
        for actor in crowd:
            actor.start(_fill, buffer.fileno())
        for actor in crowd:
            actor.result()
