# SPDX-License-Identifier: MIT
"""The virtual scan-out: flips, events, locks on what is shown, and tearing that shows."""

from __future__ import annotations

import contextlib
import errno
import select
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from actors import Actor, until
from buffers import BOUNCING, allocate
from locks import READ, WRITE, lock, trylock, unlock
from state import accesses, until_waiting, waiting

from dmabuf_sync import Access, Blitter, Display, DisplayEvent, DisplayEventType, DmaBuf
from dmabuf_sync._uapi import ffi, lib

SIZE = 65536
PATIENCE = 20.0
PERIOD = 20_000
FLIP, FRAME = DisplayEventType.FLIP, DisplayEventType.FRAME
RELEASE = DisplayEventType.RELEASE

Actors = Callable[[int], list[Actor]]


@pytest.fixture
def display() -> Iterator[Display]:
    with Display() as made:
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[DmaBuf, DmaBuf]]:
    with DmaBuf(allocate("vdmabuf", SIZE)) as a, DmaBuf(allocate("vdmabuf", SIZE)) as b:
        yield a, b


def paint(buffer: DmaBuf, color: int) -> int:
    """Fill a buffer as the CPU, under its lock; returns the CRC it then has."""
    with buffer.locked(Access.WRITE), buffer.map() as memory:
        np.frombuffer(memory, np.uint8)[:] = color
    return solid(color)


def solid(color: int) -> int:
    return zlib.crc32(bytes([color]) * SIZE)


def until_event(
    display: Display, kind: DisplayEventType, user_data: int | None = None
) -> list[DisplayEvent]:
    """All events up to one of this type, for this buffer if one is named."""
    seen: list[DisplayEvent] = []
    while True:
        events = display.events(PATIENCE)
        assert events, f"no {kind.name} among {seen}"
        for event in events:
            seen.append(event)
            if event.type is kind and user_data in (None, event.user_data):
                return seen


@pytest.mark.coherency
def test_shows_what_was_painted(display: Display, pair: tuple[DmaBuf, DmaBuf]) -> None:
    for number, buffer in enumerate(pair):
        crc = paint(buffer, 10 + number)
        display.flip(buffer, user_data=number, period_us=PERIOD)
        frame = until_event(display, FRAME, number)[-1]
        assert frame.crc == crc
    display.flip(None)
    seen = until_event(display, RELEASE, 1)
    assert [event.user_data for event in seen if event.type is RELEASE] == [1]


@pytest.mark.coherency
@pytest.mark.parametrize(("offset", "length"), [(0, 1), (4095, 2), (5, 10), (33, 40000)])
def test_part_of_a_buffer(display: Display, offset: int, length: int) -> None:
    data = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
    with DmaBuf(allocate("vdmabuf", SIZE)) as buffer:
        with buffer.locked(Access.WRITE), buffer.map() as memory:
            np.frombuffer(memory, np.uint8)[:] = data
        display.flip(buffer, offset=offset, length=length, period_us=PERIOD)
        frame = until_event(display, FRAME)[-1]
        assert frame.crc == zlib.crc32(data[offset : offset + length].tobytes())


def test_order_of_events(display: Display, pair: tuple[DmaBuf, DmaBuf]) -> None:
    """The new one is shown before the old one is given back; frames have running numbers."""
    display.flip(pair[0], user_data=1, period_us=PERIOD)
    until_event(display, FRAME, 1)
    display.flip(pair[1], user_data=2)
    seen = until_event(display, RELEASE, 1)
    kinds = [(event.type, event.user_data) for event in seen if event.type is not FRAME]
    assert kinds == [(FLIP, 2), (RELEASE, 1)]
    seen += until_event(display, FRAME, 2)
    frames = [event.sequence for event in seen if event.type is FRAME]
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert [event.time_ns for event in seen] == sorted(event.time_ns for event in seen)


def test_one_flip_at_a_time(display: Display, pair: tuple[DmaBuf, DmaBuf]) -> None:
    display.flip(pair[0], user_data=1, period_us=500_000)
    until_event(display, FLIP, 1)
    display.flip(pair[1], user_data=2)
    assert select.select([], [display], [], 0)[1] == []
    with pytest.raises(OSError, match=rf"\[Errno {errno.EBUSY}\]"):
        display.flip(pair[0], user_data=3)
    assert select.select([], [display], [], PATIENCE)[1] == [display]
    until_event(display, RELEASE, 1)


def test_what_is_shown_is_locked(display: Display, buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    display.flip(buf, period_us=PERIOD)
    until_event(display, FLIP)
    other.call(lock, buf, READ)
    other.call(unlock, buf)
    with pytest.raises(BlockingIOError):
        trylock(buf, WRITE)
    other.start(lock, buf, WRITE)
    until(lambda: other.pid in [access.pid for access in accesses(buf)], "a writer to wait")
    display.flip(None)
    other.result()
    other.call(unlock, buf)


def test_flip_waits_for_the_painter(display: Display, buf: int, actors: Actors) -> None:
    (other,) = actors(1)
    other.call(lock, buf, WRITE)
    with pytest.raises(BlockingIOError):
        display.flip(buf, blocking=False)
    display.flip(None)
    assert select.select([], [display], [], PATIENCE)[1] == [display]
    other.call(unlock, buf)
    display.flip(buf, blocking=False, user_data=7)
    until_event(display, FLIP, 7)


def test_job_waits_until_it_is_not_shown(display: Display, buf: int) -> None:
    display.flip(buf, period_us=PERIOD)
    until_event(display, FLIP)
    with Blitter() as blitter:
        job = blitter.fill(buf, 1, wait=False)
        assert not job.granted
        until_event(display, FRAME)
        assert not job.granted
        display.flip(None)
        job.wait(PATIENCE)


def test_overdue_buffer_is_given_back(
    display: Display, buf: int, actors: Actors, set_parameter: Callable[[str, int], None]
) -> None:
    """When somebody waits, even in the middle of a long frame; and then nothing is shown."""
    set_parameter("hold_timeout_ms", 300)
    (other,) = actors(1)
    display.flip(buf, user_data=5, period_us=4_000_000)
    until_event(display, FLIP, 5)
    began = time.monotonic()
    other.call(lock, buf, WRITE)
    assert time.monotonic() - began < 3
    until_event(display, RELEASE, 5)
    other.call(unlock, buf)
    display.flip(buf, user_data=6, period_us=PERIOD)
    until_event(display, FLIP, 6)


def test_overdue_buffer_is_given_back_for_who_does_not_wait(
    display: Display, buf: int, set_parameter: Callable[[str, int], None]
) -> None:
    set_parameter("hold_timeout_ms", 100)
    display.flip(buf, user_data=5, period_us=PERIOD)
    until_event(display, FLIP, 5)

    def tried() -> bool:
        try:
            trylock(buf, WRITE)
        except BlockingIOError:
            return False
        return True

    until(tried, "a try that succeeds")
    until_event(display, RELEASE, 5)
    unlock(buf)


def test_wanted_buffer_is_shown_until_it_is_overdue(
    display: Display, buf: int, actors: Actors, set_parameter: Callable[[str, int], None]
) -> None:
    set_parameter("hold_timeout_ms", 60_000)
    (other,) = actors(1)
    display.flip(buf, user_data=5, period_us=PERIOD)
    until_event(display, FLIP, 5)
    other.start(lock, buf, WRITE)
    until_waiting(other, buf)
    for _ in range(20):
        until_event(display, FRAME)
    assert other.running()
    display.flip(None)
    other.result()
    other.call(unlock, buf)


def test_overdue_buffer_that_nobody_wants_is_shown(
    display: Display, buf: int, actors: Actors, set_parameter: Callable[[str, int], None]
) -> None:
    """Readers do not want it: they have it, too."""
    set_parameter("hold_timeout_ms", 50)
    (other,) = actors(1)
    display.flip(buf, user_data=5, period_us=PERIOD)
    until_event(display, FLIP, 5)
    time.sleep(0.1)
    other.call(lock, buf, READ)
    for _ in range(20):
        until_event(display, FRAME)
    other.call(unlock, buf)
    with pytest.raises(BlockingIOError):
        trylock(buf, WRITE)


def test_flips_within_a_buffer_do_not_put_its_end_off(
    display: Display, buf: int, actors: Actors, set_parameter: Callable[[str, int], None]
) -> None:
    """Its time is that of the lock, which all of them share."""
    set_parameter("hold_timeout_ms", 300)
    (other,) = actors(1)
    half = SIZE // 2
    display.flip(buf, length=half, user_data=1, period_us=PERIOD)
    until_event(display, FLIP, 1)
    other.start(lock, buf, WRITE)
    number = 0
    while other.running():
        number += 1
        with contextlib.suppress(BlockingIOError):
            display.flip(buf, offset=number % 2 * half, length=half, blocking=False)
            select.select([], [display], [], PATIENCE)
    assert number > 1
    other.result()
    other.call(unlock, buf)


def test_flip_to_what_is_shown(display: Display, buf: int, actors: Actors) -> None:
    """Again, or to another part, past somebody who waits to write it: he waits for the display."""
    (other,) = actors(1)
    half = SIZE // 2
    display.flip(buf, length=half, user_data=1, period_us=PERIOD)
    until_event(display, FLIP, 1)
    other.start(lock, buf, WRITE)
    until(lambda: other.pid in waiting(buf), "a writer to wait")
    for number, offset in ((2, 0), (3, half)):
        display.flip(buf, offset=offset, length=half, user_data=number, blocking=False)
        until_event(display, RELEASE, number - 1)
    assert other.running()
    display.flip(None)
    other.result()
    other.call(unlock, buf)


def test_closing_gives_everything_back(pair: tuple[DmaBuf, DmaBuf]) -> None:
    with Display() as display:
        display.flip(pair[0], user_data=1, period_us=200_000)
        until_event(display, FLIP, 1)
        display.flip(pair[1])
    for buffer in pair:
        with buffer.locked(Access.WRITE, blocking=False):
            pass


def _colors(display: Display, frames: int) -> list[int]:
    crcs: list[int] = []
    while len(crcs) < frames:
        crcs += [event.crc for event in display.events(PATIENCE) if event.type is FRAME]
    return crcs


@pytest.mark.skipif(BOUNCING, reason="the display reads a copy that is made at the flip")
def test_tearing_is_seen(display: Display, pair: tuple[DmaBuf, DmaBuf]) -> None:
    """A painter that takes no lock: the CRC is of no picture that was ever there."""
    whole = {solid(color) for color in range(256)}
    buffer = pair[0]
    display.flip(buffer, period_us=PERIOD)
    until_event(display, FLIP)
    with buffer.map() as memory:
        pixels = np.frombuffer(memory, np.uint8)
        torn = 0
        color = 0
        while not torn:
            color = (color + 1) % 256
            pixels[:] = color
            torn = sum(
                event.crc not in whole for event in display.events(0.001) if event.type is FRAME
            )
        del pixels
    assert torn


@pytest.mark.coherency
def test_no_tearing_with_locks(display: Display, pair: tuple[DmaBuf, DmaBuf]) -> None:
    """CPU and blitter paint as fast as they can, each buffer as soon as they get it."""
    whole = {solid(color) for color in range(256)}
    seen: list[int] = []
    with Blitter() as blitter:
        for number in range(40):
            buffer = pair[number % 2]
            color = number % 250
            if number % 4 < 2:
                paint(buffer, color)
            else:
                blitter.fill(buffer, color * 0x01010101).wait(PATIENCE)
            select.select([], [display], [], PATIENCE)
            display.flip(buffer, user_data=number, period_us=PERIOD // 4)
            if select.select([display], [], [], 0)[0]:
                seen += [event.crc for event in display.events(0) if event.type is FRAME]
    assert len(seen) > 20
    assert set(seen) <= whole
    assert len(set(seen)) > 10


def test_a_display_closed_at_once_gives_the_buffer_back(buf: int) -> None:
    """Its thread may not even have begun to run."""
    for _ in range(50):
        with Display() as display:
            display.flip(buf)
    until(lambda: not accesses(buf), "giving back the buffer")


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"flags": 2}, errno.EINVAL),
        ({"pad": 1}, errno.EINVAL),
        ({"period_us": 999}, errno.EINVAL),
        ({"period_us": 10_000_001}, errno.EINVAL),
        ({"length": 0}, errno.EINVAL),
        ({"length": SIZE + 1}, errno.EINVAL),
        ({"offset": 1}, errno.EINVAL),
        ({"offset": (1 << 64) - 1}, errno.EINVAL),
        ({"fd": -1}, errno.EINVAL),
        ({"fd": -2}, errno.EBADF),
        ({"fd": 0}, errno.EINVAL),
    ],
)
def test_bad_flip(display: Display, buf: int, changes: dict[str, int], number: int) -> None:
    flip = ffi.new("struct vdisplay_flip *")
    for name, value in {"fd": buf, "length": SIZE, **changes}.items():
        setattr(flip, name, value)
    assert lib.uapi_ioctl(display.fileno(), lib.VDISPLAY_IOC_FLIP, flip) == -number
    # And the next one is not kept from coming.
    display.flip(buf, user_data=1)
    until_event(display, FLIP, 1)
