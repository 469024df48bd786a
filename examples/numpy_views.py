# SPDX-License-Identifier: MIT
# numpy works on the memory of a dma-buf itself: nothing is copied, and what a lock for reading
# gives is read-only.
"""numpy arrays of buffers."""

import numpy as np

from dmabuf_sync import Access, Blitter, Exporter, Rect

WIDTH, HEIGHT = 64, 32
PITCH = 4 * WIDTH


def main() -> None:
    with Exporter() as exporter, Blitter() as blitter:
        picture, small = exporter.allocate(PITCH * HEIGHT), exporter.allocate(PITCH * HEIGHT)
        with picture, small:
            with picture.mapped(Access.WRITE) as memory:
                pixels = np.frombuffer(memory, np.uint32).reshape(HEIGHT, WIDTH)
                pixels[:] = np.arange(HEIGHT)[:, None] * 1000 + np.arange(WIDTH)
            # From the CPU to the engine: the lock's end has cleaned the caches.
            half = Rect(0, 0, WIDTH // 2, HEIGHT // 2, PITCH)
            whole = Rect(0, 0, WIDTH, HEIGHT, PITCH)
            with blitter.blit(picture, small, whole, half, scale=True) as job:
                job.wait(timeout=10)
                took = job.info()
            with picture.mapped(Access.READ) as one, small.mapped(Access.READ) as other:
                expected = np.frombuffer(one, np.uint32).reshape(HEIGHT, WIDTH)[::2, ::2]
                found = np.frombuffer(other, np.uint32).reshape(HEIGHT, WIDTH)
                right = np.array_equal(found[: HEIGHT // 2, : WIDTH // 2], expected)
                print(f"every second pixel of every second row: {right}")
                try:
                    found[0, 0] = 1
                except ValueError as error:
                    print(f"under a lock for reading: {error}")
            print(f"the engine took {(took.done_ns - took.started_ns) / 1e6:.1f} ms")


if __name__ == "__main__":
    main()
