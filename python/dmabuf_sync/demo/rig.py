# SPDX-License-Identifier: MIT
"""The set-up of the main job: camera, DMA engine, and the dma-bufs that they share."""

from __future__ import annotations

import mmap
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from .. import Access, Blitter, DmaBuf, Exporter, Job, Rect, Sync
from .draw import Pixels
from .v4l2 import Camera, vivid

_SPEED = Path("/sys/module/vblit/parameters/bytes_per_second")


@dataclass
class Slot:
    """Two buffers that a frame passes through."""

    index: int
    frame: DmaBuf
    """The camera writes it, the engine reads it."""
    output: DmaBuf
    """The engine writes it, the CPU draws on it."""
    source: Pixels
    """The memory of ``frame``."""
    picture: Pixels
    """The memory of ``output``."""
    at_camera: Sync
    """Locked while the camera may write ``frame``."""

    def for_cpu(self) -> Sync:
        """A new lock for the CPU: to draw on ``output`` and compare it with ``frame``."""
        sync = Sync(f"cpu {self.index}")
        sync.add(self.frame, Access.READ)
        sync.add(self.output, Access.WRITE)
        return sync


@dataclass
class Rig:
    """Camera, engine and ``count`` slots; a context manager, whose end gives all back."""

    width: int
    height: int
    rate: int
    count: int = 4
    slots: list[Slot] = field(init=False, default_factory=list)

    def __enter__(self) -> Rig:
        with ExitStack() as stack:
            self._blitter = stack.enter_context(Blitter())
            self.camera = stack.enter_context(Camera(vivid(), self.width, self.height, self.rate))
            if (self.camera.width, self.camera.height) != (self.width, self.height):
                raise ValueError(f"the camera has no pictures of {self.width}x{self.height} pixels")
            self.camera.set_control("OSD Text Mode", 1)  # the frame counter only
            self.camera.set_control("Horizontal Movement", 6)  # to the right, fast
            pitch = self.camera.pitch
            self._rect = Rect(0, 0, self.width, self.height, pitch)
            exporter = stack.enter_context(Exporter())
            for index in range(self.count):
                self.slots.append(self._slot(stack, exporter, index))
            self.camera.request_buffers(self.count)
            stack.callback(self.slots.clear)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _slot(self, stack: ExitStack, exporter: Exporter, index: int) -> Slot:
        size = -(-self.camera.size // mmap.PAGESIZE) * mmap.PAGESIZE
        frame = stack.enter_context(exporter.allocate(size, f"frame {index}"))
        output = stack.enter_context(exporter.allocate(size, f"output {index}"))
        at_camera = stack.enter_context(Sync(f"camera {index}"))
        at_camera.add(frame, Access.WRITE | Access.DMA)
        source, picture = (
            self._pixels(stack.enter_context(buffer.map(access)))
            for buffer, access in ((frame, Access.READ), (output, Access.WRITE))
        )
        return Slot(index, frame, output, source, picture, at_camera)

    def _pixels(self, memory: memoryview) -> Pixels:
        pitch = self.camera.pitch // 4
        pixels = np.frombuffer(memory, np.uint32, pitch * self.height)
        return pixels.reshape(self.height, pitch)[:, : self.width]

    @property
    def frame_bytes(self) -> int:
        """What the engine moves for a frame."""
        return self.width * self.height * 4

    def expose(self, slot: Slot) -> None:
        """Queue the slot's frame buffer at the camera."""
        self.camera.queue(slot.index, slot.frame.fileno(), slot.frame.size)

    def blit(self, slot: Slot, wait: bool) -> Job:
        """Have the engine copy the slot's frame to its output."""
        return self._blitter.blit(slot.frame, slot.output, self._rect, wait=wait)


def engine_speed() -> int:
    """Bytes a second that the DMA engine moves, 0 for as fast as it can."""
    return int(_SPEED.read_text())


def set_engine_speed(speed: int) -> None:
    """Set what ``engine_speed()`` tells; OSError as the module gives it."""
    _SPEED.write_text(f"{speed}\n")
