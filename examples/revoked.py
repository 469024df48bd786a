# SPDX-License-Identifier: MIT
# Holds are bounded: who keeps a buffer for longer than promised loses it as soon as somebody else
# wants it, and is told so. Its work may be spoilt, so it does it again.
"""Recovery after LockRevoked."""

import os
import time

from dmabuf_sync import Access, DmaBuf, Exporter, LockRevoked


def write(buffer: DmaBuf, seconds: float) -> None:
    """Fill the buffer; `seconds` is how long that takes."""
    with buffer.mapped(Access.WRITE, timeout=10, hold=0.3) as memory:
        memory[:2048] = b"w" * 2048
        time.sleep(seconds)  # the debugger, the page fault, the network
        memory[2048:] = b"w" * 2048


def other(buffer: DmaBuf) -> None:
    """Another process, which wants the buffer, too."""
    with buffer.mapped(Access.WRITE, timeout=10) as memory:
        print("other: it is mine now", flush=True)
        memory[:] = bytes(4096)


def main() -> None:
    with Exporter() as exporter, exporter.allocate(4096, "result") as buffer:
        child = os.fork()
        if child == 0:
            time.sleep(0.1)
            other(buffer)
            os._exit(0)
        for seconds in (0.8, 0.0):
            try:
                write(buffer, seconds)
                break
            except LockRevoked as error:
                print(f"writer: {error.strerror}; once more", flush=True)
        os.waitpid(child, 0)
        with buffer.mapped(Access.READ) as memory:
            print(f"writer: done, all of it is mine: {set(memory) == {ord('w')}}")


if __name__ == "__main__":
    main()
