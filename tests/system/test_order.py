# SPDX-License-Identifier: MIT
"""Who holds something passes only those who wait for it (C2, C4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from actors import Actor
from locks import READ, WRITE, lock, unlock
from state import until_waiting, waiting

Actors = Callable[[int], list[Actor]]
SetParameter = Callable[[str, int], None]


@pytest.fixture(autouse=True)
def _patience(set_parameter: SetParameter) -> None:
    set_parameter("hold_timeout_ms", 60_000)


@pytest.mark.parametrize("start", [50, 5])
def test_holder_waits_behind_who_does_not_wait_for_it(buf: int, actors: Actors, start: int) -> None:
    """From byte 5 on it also asks for what others wait for it to let go: it goes between."""
    holder, other, waiter, bystander = actors(4)
    holder.call(lock, buf, READ, 0, 10)
    other.call(lock, buf, WRITE, 50, 10)
    waiter.start(lock, buf, WRITE, 0, 10)
    until_waiting(waiter, buf)
    bystander.start(lock, buf, WRITE, 50, 10)
    until_waiting(bystander, buf)
    holder.start(lock, buf, WRITE, start, 60 - start)
    until_waiting(holder, buf)
    assert holder.pid in waiting(buf)[waiting(buf).index(bystander.pid) :]
    other.call(unlock, buf)
    bystander.result()
    assert holder.running()
    bystander.call(unlock, buf)
    holder.result()
    assert waiter.running()
    holder.call(unlock, buf)
    waiter.result()


def test_two_holders_cannot_keep_a_bystander_out(buf: int, actors: Actors) -> None:
    one, two, waiter, bystander = actors(4)
    one.call(lock, buf, READ, 0, 10)
    two.call(lock, buf, READ, 0, 10)
    one.call(lock, buf, WRITE, 50, 10)
    waiter.start(lock, buf, WRITE, 0, 10)
    until_waiting(waiter, buf)
    bystander.start(lock, buf, WRITE, 50, 10)
    until_waiting(bystander, buf)
    two.start(lock, buf, WRITE, 50, 10)
    until_waiting(two, buf)
    one.call(unlock, buf, 50, 10)
    bystander.result()
    assert two.running()


def test_who_waits_behind_who_waits_for_the_holder_is_passed(buf: int, actors: Actors) -> None:
    holder, waiter, behind = actors(3)
    holder.call(lock, buf, READ, 0, 10)
    waiter.start(lock, buf, WRITE, 0, 60)
    until_waiting(waiter, buf)
    behind.start(lock, buf, WRITE, 50, 10)
    until_waiting(behind, buf)
    holder.call(lock, buf, WRITE, 50, 10)  # at once: nobody else holds that
    holder.call(unlock, buf)
    waiter.result()
    assert behind.running()
    waiter.call(unlock, buf)
    behind.result()
