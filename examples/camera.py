# SPDX-License-Identifier: MIT
# vivid, the kernel's V4L2 test camera, captures into dma-bufs; a DMA engine copies each frame; the
# CPU looks at the copy. The camera's driver knows nothing of locks: a sync object that is locked
# for DMA stands in for it while a buffer is the camera's.
"""A camera, a DMA engine and the CPU on the same buffers."""

import select

import numpy as np

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter, Sync
from dmabuf_sync.demo.v4l2 import Camera, vivid

FRAMES = 3


def capture(camera: Camera, frame: DmaBuf, sync: Sync) -> int:
    """Let the camera fill `frame`, which nobody else may touch meanwhile."""
    with sync.locked(timeout=10):
        camera.queue(0, frame.fileno(), frame.size)
        select.select([camera], [], [])
        return camera.dequeue().sequence


def main() -> None:
    with Camera(vivid(), 640, 360, rate=30) as camera, Exporter() as exporter, Blitter() as blitter:
        size = -(-camera.size // 4096) * 4096
        frame, copy = exporter.allocate(size, "frame"), exporter.allocate(size, "copy")
        camera.request_buffers(1)
        with frame, copy, Sync("camera") as sync, camera.streaming():
            sync.add(frame, Access.WRITE | Access.DMA)
            for _ in range(FRAMES):
                sequence = capture(camera, frame, sync)
                blitter.copy(frame, copy, wait=False).close()
                # This lock waits for the copy; the camera could have the frame again after it.
                with copy.mapped(Access.READ, timeout=10) as memory:
                    pixels = np.frombuffer(memory, np.uint32, camera.size // 4)
                    colors = len(np.unique(pixels & 0xFFFFFF))
                print(f"frame {sequence}: {camera.width}x{camera.height}, {colors} colours")
        camera.request_buffers(0)


if __name__ == "__main__":
    main()
