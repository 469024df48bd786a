# SPDX-License-Identifier: MIT
# A bug as it happens: an array is used after its lock was given back. On an ordinary buffer that
# goes well until, one day, it does not. The memory of a strict buffer is there only under a lock.
"""A strict buffer catches an access without a lock."""

import faulthandler
import os
import signal
import sys

import numpy as np

from dmabuf_sync import Access, DmaBuf, Exporter


def brightness(frame: DmaBuf) -> float:
    """Wrong: the lock ends with the block, the array does not."""
    with frame.mapped(Access.READ) as memory:
        pixels = np.frombuffer(memory, np.uint8)
    return float(pixels.mean())  # the bug


def brightness_mended(frame: DmaBuf) -> float:
    with frame.mapped(Access.READ) as memory:
        return float(np.frombuffer(memory, np.uint8).mean())


def main() -> None:
    with Exporter() as exporter:
        with exporter.allocate(4096, "ordinary") as frame:
            print(f"ordinary buffer: {brightness(frame)}, and nobody notices", flush=True)
        with exporter.allocate(4096, "strict", strict=True) as frame:
            child = os.fork()
            if child == 0:
                faulthandler.enable(sys.stdout)  # says where
                brightness(frame)
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(f"strict buffer: the process got {signal.Signals(-status).name}")
            print(f"mended: {brightness_mended(frame)}")


if __name__ == "__main__":
    main()
