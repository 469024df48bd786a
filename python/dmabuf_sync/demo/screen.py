# SPDX-License-Identifier: MIT
"""Asks the machine that runs the test guest for a picture of what one of its displays shows."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np

from .draw import Pixels

PORT = "dmabuf-sync.screen"
"""Name of the virtio port on which it answers; scripts/guest/screen.py does."""


def _port() -> Path:
    for name in Path("/sys/class/virtio-ports").glob("*/name"):
        if name.read_text().strip() == PORT:
            return Path("/dev", name.parent.name)
    raise FileNotFoundError(errno.ENODEV, f"no virtio port {PORT}: this is not the test guest")


def screendump(display: str) -> Pixels:
    """What the display shows now, one 0x00RRGGBB number a pixel, as QEMU sees it.

    ``display`` is the name of a device in scripts/guest/screen.py. OSError: ENODEV this is not the
    test guest; EBUSY somebody else asks just now; EIO QEMU's own words.
    """
    with open(os.open(_port(), os.O_RDWR | os.O_CLOEXEC), "r+b", buffering=0) as port:
        port.write(f"{display}\n".encode())
        answer = bytearray()
        while not answer.endswith(b"\n"):
            answer += _read(port.fileno(), 1)
        if answer.startswith(b"error"):
            raise OSError(errno.EIO, answer.decode().strip())
        size = int(answer)
        picture = bytearray()
        while len(picture) < size:
            picture += _read(port.fileno(), size - len(picture))
    return parse_ppm(bytes(picture))


def _read(fd: int, size: int) -> bytes:
    data = os.read(fd, size)
    if not data:
        raise OSError(errno.EIO, "nobody answers")
    return data


def parse_ppm(data: bytes) -> Pixels:
    """The pixels of a binary PPM picture; ValueError for anything else."""
    header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    if header is None:
        raise ValueError("no binary PPM picture of 8 bits a colour")
    width, height = int(header[1]), int(header[2])
    colors = np.frombuffer(data, np.uint8, offset=header.end())
    rgb = colors.reshape(height, width, 3).astype(np.uint32)
    picture: Pixels = np.bitwise_or.reduce(rgb << np.array([16, 8, 0], np.uint32), axis=2)
    return picture
