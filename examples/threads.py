# SPDX-License-Identifier: MIT
# Threads count together in one buffer. To fcntl(2) all threads of a process are one owner, so they
# would not exclude each other: each thread has a sync object of its own instead.
"""Threads exclude each other with one Sync each."""

import threading

from dmabuf_sync import Access, DmaBuf, Exporter, Sync

THREADS, ROUNDS = 4, 250


def count(buffer: DmaBuf, name: str) -> None:
    """Read a number, add one, write it back; a thread that came between would be lost."""
    with Sync(name) as sync, buffer.map() as memory:
        sync.add(buffer, Access.WRITE)
        number = memory[:8].cast("Q")
        for _ in range(ROUNDS):
            with sync.locked(timeout=10):
                number[0] = number[0] + 1


def main() -> None:
    with Exporter() as exporter, exporter.allocate(4096, "counter") as buffer:
        threads = [
            threading.Thread(target=count, args=(buffer, f"thread {number}"))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with buffer.mapped(Access.READ) as memory:
            counted = memory[:8].cast("Q")[0]
    print(f"{THREADS} threads counted to {ROUNDS} each: {counted} of {THREADS * ROUNDS}")


if __name__ == "__main__":
    main()
