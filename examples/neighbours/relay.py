#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Camera, blitter and display: three processes that share nothing but dma-bufs.

    python3 examples/neighbours/relay.py [--no-locks]

A fourth process makes the buffers and gives them away, as file descriptors over a Unix socket. The
camera (vivid) fills the frames, the blitter copies each frame to an output, the display shows the
outputs, and nobody tells anybody anything: the locks alone see to it that whoever has a buffer has
it for himself. Each of the three is killed while the others go on, and is started again.

Whole pictures are told by their rows, which are all the same in what the camera films, and by the
display's CRC. Ends with status 1 if a picture was torn or somebody was stuck.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import random
import select
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dmabuf_sync import (
    Access,
    Blitter,
    Display,
    DisplayEvent,
    DisplayEventType,
    DmaBuf,
    Exporter,
    Rect,
    Sync,
)
from dmabuf_sync.demo.process import Child
from dmabuf_sync.demo.rig import engine_speed, set_engine_speed
from dmabuf_sync.demo.v4l2 import Camera, vivid

WIDTH, HEIGHT, RATE = 320, 180, 120
PITCH = WIDTH * 4
SIZE = -(-PITCH * HEIGHT // mmap.PAGESIZE) * mmap.PAGESIZE
PAIRS = 2
PERIOD_US = 8000
SPEED = 30_000_000  # bytes a second of the engine: a frame takes about as long as on the display
PATIENCE = 10.0  # seconds without a buffer, a frame or an event
PLAIN = {"OSD Text Mode": 2, "Horizontal Movement": 6}  # no text; to the right, fast

Work = Callable[["Counters", Sequence[DmaBuf], Sequence[DmaBuf], bool], None]


class Counters:
    """What the three have done, for the one that watches them."""

    NAMES = ("camera", "blitter", "display", "torn")

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    def __getitem__(self, name: str) -> int:
        return self._numbers[self.NAMES.index(name)]

    def add(self, name: str, number: int = 1) -> None:
        self._numbers[self.NAMES.index(name)] += number


def give_away(path: Path) -> None:
    """The process that makes the buffers: whoever connects gets them all."""
    with contextlib.ExitStack() as stack, Exporter() as exporter:
        names = [f"{kind} {index}" for kind in ("frame", "output") for index in range(PAIRS)]
        buffers = [stack.enter_context(exporter.allocate(SIZE, name)) for name in names]
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(path))
        server.listen()
        while True:
            client, _ = server.accept()
            with client:
                socket.send_fds(client, [b"!"], [buffer.fileno() for buffer in buffers])


@contextlib.contextmanager
def received(path: Path) -> Iterator[tuple[list[DmaBuf], list[DmaBuf]]]:
    """The frames and the outputs, as they come over the socket."""
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as client:
        deadline = time.monotonic() + PATIENCE
        while client.connect_ex(str(path)):
            if time.monotonic() > deadline:
                raise TimeoutError("nobody gives buffers away")
            time.sleep(0.01)
        _, fds, _, _ = socket.recv_fds(client, 1, 2 * PAIRS)
        buffers = [stack.enter_context(DmaBuf(fd)) for fd in fds]
        yield buffers[:PAIRS], buffers[PAIRS:]


def film(
    counters: Counters, frames: Sequence[DmaBuf], outputs: Sequence[DmaBuf], locks: bool
) -> None:
    """The camera's process.

    When it is killed the camera has to stop before the lock is gone. A process's fcntl locks are
    the first to go; a sync object goes with its file descriptor, later than the descriptors that
    were opened after it.
    """
    with contextlib.ExitStack() as stack:
        syncs = [stack.enter_context(Sync(f"camera {index}")) for index in range(PAIRS)]
        for sync, frame in zip(syncs, frames, strict=True):
            sync.add(frame, Access.WRITE | Access.DMA)
        camera = stack.enter_context(Camera(vivid(), WIDTH, HEIGHT, RATE))
        for control, value in PLAIN.items():
            camera.set_control(control, value)
        camera.request_buffers(PAIRS)
        with camera.streaming():
            while True:
                for index, (sync, frame) in enumerate(zip(syncs, frames, strict=True)):
                    with sync.locked(timeout=PATIENCE) if locks else contextlib.nullcontext():
                        camera.queue(index, frame.fileno(), frame.size)
                        if not select.select([camera], [], [], PATIENCE)[0]:
                            raise TimeoutError("no picture")
                        camera.dequeue()
                    counters.add("camera")


def copy(
    counters: Counters, frames: Sequence[DmaBuf], outputs: Sequence[DmaBuf], locks: bool
) -> None:
    """The blitter's process: the engine waits for camera and display by itself."""
    rect = Rect(0, 0, WIDTH, HEIGHT, PITCH)
    with Blitter() as blitter:
        while True:
            for frame, output in zip(frames, outputs, strict=True):
                with blitter.blit(frame, output, rect, wait=False) as job:
                    job.wait(PATIENCE)
                counters.add("blitter")


def show(
    counters: Counters, frames: Sequence[DmaBuf], outputs: Sequence[DmaBuf], locks: bool
) -> None:
    """The display's process: flips, and looks whether what is shown is one picture."""
    with Display() as display:
        number = 0
        while True:
            output = outputs[number % PAIRS]
            if not select.select([], [display], [], PATIENCE)[1]:
                raise TimeoutError("no flip")
            display.flip(output, user_data=number, period_us=PERIOD_US)
            until(display, DisplayEventType.FLIP, number)
            # The display has it locked for reading, so nobody writes, and we may look, too. A lock
            # of our own would wait behind the blitter's job, which waits for the next flip.
            with output.cpu_access(Access.READ), output.map(Access.READ) as memory:
                picture = bytes(memory)
            frame = until(display, DisplayEventType.FRAME, number)
            rows = np.frombuffer(picture, np.uint32, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
            if (rows != rows[0]).any() or frame.crc != zlib.crc32(picture):
                counters.add("torn")
            counters.add("display")
            number += 1


def until(display: Display, kind: DisplayEventType, number: int) -> DisplayEvent:
    """The first event of this kind for this flip."""
    while True:
        events = display.events(PATIENCE)
        if not events:
            raise TimeoutError(f"no {kind.name}")
        for event in events:
            if event.type is kind and event.user_data == number:
                return event


ROLES: dict[str, Work] = {"camera": film, "blitter": copy, "display": show}


def start(role: str, path: Path, counters: Counters, locks: bool) -> Child:
    """A process that does its part until it is killed."""

    def work() -> None:
        with received(path) as (frames, outputs):
            ROLES[role](counters, frames, outputs, locks)

    return Child(work)


def advance(counters: Counters, roles: Sequence[str], by: int) -> bool:
    """Wait until each has done so much more; False when somebody is stuck."""
    goals = {role: counters[role] + by for role in roles}
    deadline = time.monotonic() + 2 * PATIENCE
    while any(counters[role] < goal for role, goal in goals.items()):
        if time.monotonic() > deadline:
            stuck = [role for role, goal in goals.items() if counters[role] < goal]
            print(f"stuck: {', '.join(stuck)}", file=sys.stderr)
            return False
        time.sleep(0.002)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Three processes that share dma-bufs only.")
    parser.add_argument("--frames", type=int, default=10, help="between kills (%(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="kills of each (%(default)s)")
    parser.add_argument("--no-locks", action="store_true", help="let the camera take no locks")
    options = parser.parse_args(arguments)
    vivid()  # load it here and now, not in a process that is to be killed
    counters = Counters()
    locks = not options.no_locks
    well = True
    with contextlib.ExitStack() as stack:
        stack.callback(set_engine_speed, engine_speed())
        set_engine_speed(SPEED)
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "buffers"
        stack.enter_context(Child(lambda: give_away(path)))
        running = {role: stack.enter_context(start(role, path, counters, locks)) for role in ROLES}
        well &= advance(counters, list(ROLES), options.frames)
        for number in range(options.rounds * len(ROLES)):
            victim = list(ROLES)[number % len(ROLES)]
            time.sleep(random.uniform(0, 0.02))
            running[victim].kill()
            others = [role for role in ROLES if role != victim]
            well &= advance(counters, others, options.frames)
            print(f"{victim} killed: {' and '.join(others)} go on")
            running[victim] = stack.enter_context(start(victim, path, counters, locks))
            well &= advance(counters, list(ROLES), options.frames)
    print(", ".join(f"{counters[name]} {name}" for name in Counters.NAMES))
    return 0 if well and not counters["torn"] else 1


if __name__ == "__main__":
    sys.exit(main())
