# SPDX-License-Identifier: MIT
"""Camera, DMA engine and CPU at work on the same frames, in three ways."""

from __future__ import annotations

import queue
import select
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from .. import Job, Sync, SyncState
from .._system import HasFileno
from .draw import Check, Pixels, check, draw
from .rig import Rig, Slot
from .timeline import Lane, Timeline

_TIMEOUT = 10.0  # seconds without a sign of life from the camera, the engine or a lock

Done = Callable[[float], None]


def _unwatched(frames: float) -> None:
    """Nobody wants to know how far it is."""


@dataclass
class Run:
    """What came of some frames: how whole they were, how long they took, who was busy when."""

    timeline: Timeline
    torn: int = 0
    stale: int = 0
    finished: list[int] = field(default_factory=list)
    """When each frame was ready, CLOCK_MONOTONIC nanoseconds."""
    example: Pixels | None = None
    """A copy of the first torn frame, or else of the last."""
    engine_free: int = 0
    """When the engine was done with the frame before, CLOCK_MONOTONIC nanoseconds."""
    done: Done = _unwatched
    """Called with 1 for each frame that is ready."""

    @property
    def frames(self) -> int:
        return len(self.finished)

    @property
    def rate(self) -> float:
        """Frames per second, from the end of the first to the end of the last."""
        return (self.frames - 1) * 1e9 / (self.finished[-1] - self.finished[0])

    def count(self, found: Check, picture: Pixels, last: bool) -> None:
        """Note that a frame is ready and how whole it is."""
        if not self.torn and (last or found.torn):
            self.example = picture.copy()
        self.torn += found.torn
        self.stale += found.stale
        self.finished.append(time.monotonic_ns())
        self.done(1)


def _cpu_stage(run: Run, slot: Slot, frame: int, last: bool = False) -> None:
    """Draw on the output and check it against the source: the same work in every way."""
    begin = time.monotonic_ns()
    box = draw(slot.picture, frame)
    found = check(slot.picture, slot.source, frame, box)
    run.timeline.add(Lane.CPU, frame, begin, time.monotonic_ns())
    run.count(found, slot.picture, last)


def _finish(run: Run, job: Job, frame: int) -> None:
    """Wait for a job, put the kernel's own times of it on the timeline, and close it."""
    with job:
        job.wait(_TIMEOUT)
        info = job.info()
    # A started job can still be behind another one in the engine.
    begin = max(info.started_ns, run.engine_free)
    run.timeline.add(Lane.DMA, frame, info.queued_ns, begin, waiting=True)
    run.timeline.add(Lane.DMA, frame, begin, info.done_ns)
    run.engine_free = info.done_ns


def _wait(file: HasFileno, what: str) -> None:
    poller = select.poll()
    poller.register(file.fileno(), select.POLLIN)
    if not poller.poll(_TIMEOUT * 1000):
        raise TimeoutError(f"{what} for {_TIMEOUT:.0f} s")


def _wait_granted(sync: Sync) -> None:
    """Wait for a lock that somebody asked for with ``request()``."""
    _wait(sync, f"the lock {sync.name!r} was not granted")
    info = sync.info()
    if info.state is not SyncState.LOCKED:
        raise OSError(-info.error, f"the lock {sync.name!r} failed")


def _capture(rig: Rig, slot: Slot, timeline: Timeline, frame: int) -> None:
    """Have the camera fill the slot's frame buffer, and wait until it has."""
    begin = time.monotonic_ns()
    rig.expose(slot)
    _wait(rig.camera, "the camera gave no frame")
    rig.camera.dequeue()
    timeline.add(Lane.CAMERA, frame, begin, time.monotonic_ns())


def conventional(rig: Rig, frames: int, done: Done = _unwatched) -> Run:
    """One thread, each step after the one before: camera, engine, CPU, then the next frame."""
    run = Run(Timeline("conventional"), done=done)
    timeline = run.timeline
    with rig.camera.streaming():
        for frame in range(frames):
            slot = rig.slots[frame % rig.count]
            with slot.at_camera.locked(timeout=_TIMEOUT):
                _capture(rig, slot, timeline, frame)
            _finish(run, rig.blit(slot, wait=True), frame)
            with slot.for_cpu() as lock, lock.locked(timeout=_TIMEOUT):
                _cpu_stage(run, slot, frame, last=frame == frames - 1)
    return run


def unsynchronised(rig: Rig, frames: int, limit: int, done: Done = _unwatched) -> Run:
    """The conventional way with all locks and all waits for the engine left out.

    Takes ``frames`` frames, and then more until one was torn, but not more than ``limit``.
    """
    run = Run(Timeline("no synchronisation"), done=done)
    with rig.camera.streaming():
        for frame in range(limit):
            if frame >= frames and run.torn:
                break
            slot = rig.slots[frame % rig.count]
            _capture(rig, slot, run.timeline, frame)
            job = rig.blit(slot, wait=False)
            _cpu_stage(run, slot, frame)
            _finish(run, job, frame)
    return run


@dataclass(frozen=True)
class _Work:
    """A frame on its way to the CPU: everything is queued in the kernel, nothing need be done."""

    frame: int
    slot: Slot
    job: Job
    lock: Sync
    last: bool


_HandOut = queue.SimpleQueue[_Work | None]


def _draw_frames(run: Run, hand_out: _HandOut) -> None:
    """The CPU's thread. The queue only names the next frame; the lock says when it is there."""
    while (work := hand_out.get()) is not None:
        begin = time.monotonic_ns()
        with work.lock:
            _wait_granted(work.lock)
            run.timeline.add(Lane.CPU, work.frame, begin, time.monotonic_ns(), waiting=True)
            _cpu_stage(run, work.slot, work.frame, work.last)
            work.lock.unlock()
        _finish(run, work.job, work.frame)


class _CameraThread:
    """Keeps the camera supplied with buffers, and queues everything that is to happen to a frame.

    As soon as a buffer is locked for the camera, the blit and the CPU's lock are queued behind it;
    the kernel hands the buffer on in that order while this thread looks after the next one.
    """

    def __init__(self, rig: Rig, frames: int, run: Run, hand_out: _HandOut) -> None:
        self._rig = rig
        self._frames = frames
        self._timeline = run.timeline
        self._hand_out = hand_out
        self._poller = select.poll()
        self._asked: dict[int, tuple[Slot, int]] = {}  # by fd: slot, since when
        self._exposed: dict[int, tuple[int, int]] = {}  # by slot: frame, since when
        self._planned = 0  # frames that have been given a slot
        self._next = 0  # frame to be exposed
        self._captured = 0  # frames that the camera has filled
        self._captured_at = 0

    def run(self, cpu: Future[None]) -> None:
        """Take all frames; ends early when the CPU's thread has failed."""
        for slot in self._rig.slots:
            self._ask(slot)
        while self._captured < self._frames and not cpu.done():
            events = self._poller.poll(_TIMEOUT * 1000)
            if not events and not cpu.done():
                raise TimeoutError(f"neither a frame nor a lock came for {_TIMEOUT:.0f} s")
            for fd, _ in events:
                if fd == self._rig.camera.fileno():
                    self._take()
                else:
                    self._expose(*self._asked[fd])

    def _ask(self, slot: Slot) -> None:
        """Queue for the slot's frame buffer: behind the CPU, which is behind the engine."""
        if self._planned == self._frames:
            return
        self._planned += 1
        slot.at_camera.request()
        fd = slot.at_camera.fileno()
        self._asked[fd] = slot, time.monotonic_ns()
        self._poller.register(fd, select.POLLIN)

    def _expose(self, slot: Slot, since: int) -> None:
        """The buffer is the camera's; queue what comes after it."""
        self._poller.unregister(slot.at_camera.fileno())
        _wait_granted(slot.at_camera)
        frame, self._next = self._next, self._next + 1
        now = time.monotonic_ns()
        self._timeline.add(Lane.CAMERA, frame, since, now, waiting=True)
        self._exposed[slot.index] = frame, now
        self._rig.expose(slot)
        if frame == 0:  # poll() reports an error on a camera that never had a buffer
            self._poller.register(self._rig.camera.fileno(), select.POLLIN)
        job = self._rig.blit(slot, wait=False)
        lock = slot.for_cpu()
        lock.request()
        self._hand_out.put(_Work(frame, slot, job, lock, last=frame == self._frames - 1))

    def _take(self) -> None:
        """A frame is there: unlocking its buffer sets off the engine."""
        slot = self._rig.slots[self._rig.camera.dequeue().index]
        slot.at_camera.unlock()
        now = time.monotonic_ns()
        frame, begin = self._exposed.pop(slot.index)
        self._timeline.add(Lane.CAMERA, frame, max(begin, self._captured_at), now)
        self._captured += 1
        self._captured_at = now
        self._ask(slot)


def locked(rig: Rig, frames: int, done: Done = _unwatched) -> Run:
    """Two threads and the engine at once; nothing but dmabuf-sync locks keeps them in order."""
    run = Run(Timeline("dmabuf-sync locks"), done=done)
    hand_out: _HandOut = queue.SimpleQueue()
    camera = _CameraThread(rig, frames, run, hand_out)
    with ThreadPoolExecutor(1) as pool:
        cpu = pool.submit(_draw_frames, run, hand_out)
        try:
            with rig.camera.streaming():
                camera.run(cpu)
        finally:
            hand_out.put(None)
        cpu.result()
    return run
