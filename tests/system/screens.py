# SPDX-License-Identifier: MIT
"""The guest's displays, and painters for their frames."""

from __future__ import annotations

import errno
import subprocess
from typing import NamedTuple

import numpy as np
import pytest
from actors import until
from locks import WRITE, lock, unlock

from dmabuf_sync import Mapping
from dmabuf_sync.demo import kms
from dmabuf_sync.demo.draw import Pixels
from dmabuf_sync.demo.screen import screendump

PATIENCE = 20.0
# What the test guest calls the display: the kernel's module, and the name it has for itself.
DRIVERS = {"virtio": ("virtio-gpu", "virtio_gpu"), "bochs": ("bochs", "bochs-drm")}


class Screen:
    """A display with two frames."""

    def __init__(self, name: str, kind: type[kms.Card] = kms.Card) -> None:
        module, driver = DRIVERS[name]
        subprocess.run(["modprobe", module], check=True)
        self.name = name
        self.card = kind(until(lambda: kms.node(driver), "the driver's node"))

    def frames(self, count: int) -> list[kms.Frame]:
        try:
            return [self.card.frame() for _ in range(count)]
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            pytest.skip(f"this kernel's driver of {self.name} exports no buffers")

    def show(self, frame: kms.Frame) -> None:
        self.card.flip(frame, timeout=PATIENCE)
        self.card.complete(PATIENCE)

    def picture(self) -> Pixels:
        return screendump(self.name)


def noise(seed: int, like: Pixels) -> Pixels:
    return np.random.default_rng(seed).integers(0, 1 << 24, like.shape, np.uint32)


class Canvas(NamedTuple):
    """What a painter has to know of a frame."""

    fd: int
    pitch: int
    height: int


def canvas(frame: kms.Frame) -> Canvas:
    return Canvas(frame.buffer.fileno(), frame.pitch, frame.buffer.size // frame.pitch)


def fill(canvas: Canvas, color: int) -> None:
    """A painter that needs its time, and locks as any program can."""
    lock(canvas.fd, WRITE)
    with Mapping(canvas.fd) as memory:
        pixels = np.frombuffer(memory, np.uint32, canvas.pitch // 4 * canvas.height)
        for row in pixels.reshape(canvas.height, -1):
            row[:] = color
    unlock(canvas.fd)


def colors(picture: Pixels) -> list[int]:
    return [int(color) for color in np.unique(picture)]
