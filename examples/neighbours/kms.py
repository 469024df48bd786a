#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Camera, blitter, CPU and a KMS display at work on the display's own buffers.

    make vm CMD='python3 examples/neighbours/kms.py --output build/display.png'

The camera (vivid) fills dma-bufs, the blitter copies them into dumb buffers of a KMS driver that
were exported with PRIME, the CPU draws a number onto each, and the display flips to it. A dumb
buffer is locked by fcntl while the CPU draws, and READ|DMA from before the flip until the event of
the next one. QEMU then says what is on the screen: exactly what was drawn, or the status is 1.

A driver need not let devices use its buffers: bochs on Linux 6.12 does not, and on 7.2 it does.
"""

from __future__ import annotations

import argparse
import errno
import select
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from dmabuf_sync import Access, Blitter, Exporter, Rect, Sync
from dmabuf_sync.demo import draw, kms
from dmabuf_sync.demo.screen import screendump
from dmabuf_sync.demo.v4l2 import Camera, vivid

DISPLAYS = {"bochs": ("bochs", "bochs-drm"), "virtio": ("virtio-gpu", "virtio_gpu")}
WIDTH, HEIGHT, RATE = 640, 480, 60
TIMEOUT = 10.0
UNUSABLE = 77


def save(picture: draw.Pixels, path: Path) -> None:
    """Write a picture as a PNG file."""
    shifts = np.array([16, 8, 0], np.uint32)
    Image.fromarray((picture[..., None] >> shifts & 0xFF).astype(np.uint8)).save(path)


def run(display: str, frames: int) -> tuple[draw.Pixels, int]:
    """Show so many frames; the last one as QEMU sees it, and how many were not what was drawn."""
    wrong = 0
    with ExitStack() as stack:
        camera = stack.enter_context(Camera(vivid(), WIDTH, HEIGHT, RATE))
        exporter = stack.enter_context(Exporter())
        picture = stack.enter_context(exporter.allocate(camera.size, "picture"))
        at_camera = stack.enter_context(Sync("camera"))
        at_camera.add(picture, Access.WRITE | Access.DMA)
        blitter = stack.enter_context(Blitter())
        card = stack.enter_context(kms.Card(kms.node(DISPLAYS[display][1]), WIDTH, HEIGHT))
        slots = [card.frame() for _ in range(2)]
        source = Rect(0, 0, WIDTH, HEIGHT, camera.pitch)
        camera.set_control("OSD Text Mode", 1)
        camera.request_buffers(1)
        with camera.streaming():
            for number in range(frames):
                with at_camera.locked(timeout=TIMEOUT):
                    camera.queue(0, picture.fileno(), picture.size)
                    if not select.select([camera], [], [], TIMEOUT)[0]:
                        raise TimeoutError("no picture")
                    camera.dequeue()
                slot = slots[number % 2]
                target = Rect(0, 0, WIDTH, HEIGHT, slot.pitch)
                job = blitter.blit(picture, slot.buffer, source, target)
                drawn: list[draw.Pixels] = []

                def paint(
                    pixels: draw.Pixels,
                    number: int = number,
                    drawn: list[draw.Pixels] = drawn,
                ) -> None:
                    draw.draw(pixels, number)
                    drawn.append(pixels & np.uint32(0xFFFFFF))

                slot.draw(paint, timeout=TIMEOUT)  # waits for the job
                job.close()
                card.flip(slot, timeout=TIMEOUT)
                card.complete(TIMEOUT)
                shown = screendump(display)
                wrong += not np.array_equal(shown, drawn[0])
    return shown, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A camera's pictures on a KMS display.")
    parser.add_argument("--display", choices=DISPLAYS, default="virtio")
    parser.add_argument("--frames", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--output", type=Path, help="PNG file for the last one")
    options = parser.parse_args(arguments)
    subprocess.run(["modprobe", DISPLAYS[options.display][0]], check=True)
    try:
        shown, wrong = run(options.display, options.frames)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        print(f"this kernel's driver of {options.display} lets no device use its buffers")
        return UNUSABLE
    print(f"{options.frames} frames on {options.display}: {wrong} not as they were drawn")
    if options.output:
        save(shown, options.output)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
