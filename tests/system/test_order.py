# SPDX-License-Identifier: MIT
"""Who holds something passes only those who wait for it (C2, C4)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from actors import Actor, until
from driver import DMA_WRITE, Driver, slow
from locks import READ, WRITE, lock, unlock
from state import accesses, until_waiting, waiting

Actors = Callable[[int], list[Actor]]
Drivers = Callable[..., Driver]
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


def test_who_is_losing_a_hold_goes_behind_those_it_loses_it_to(
    cached: int, drivers: Drivers, actors: Actors, set_parameter: SetParameter
) -> None:
    """It asks again while its caches are cleaned: nothing of what it has left keeps others back."""
    driver, device = drivers(None), drivers()
    (holder,) = actors(1)
    device.get(cached, DMA_WRITE)
    set_parameter("hold_timeout_ms", 1)
    holder.call(lock, cached, WRITE)
    with slow("end"):
        device.submit()
        until(lambda: driver.state().in_end == 1, "revoking")
        with pytest.raises(OSError, match=rf"\[Errno {errno.ETIMEDOUT}\]"):
            holder.call(lock, cached, WRITE)
        holder.start(lock, cached, WRITE)
        until_waiting(holder, cached)
        line = [access.kind for access in accesses(cached) if access.state == "waiting"]
        assert line == ["job", "posix"]
    device.wait_started()
    assert holder.running()
    device.done()
    holder.result()
    holder.kill()
    device.wait_done()
