# SPDX-License-Identifier: MIT
# Task A needs the buffers {a, b}, task B needs {c, a}. Locked one after the other, in whatever
# order each task likes, they would deadlock sooner or later. A sync object gets all of its buffers
# or none, and holds nothing while it waits.
"""Several buffers at once, without an order to agree upon."""

import multiprocessing

from dmabuf_sync import Access, DmaBuf, Exporter, Sync

ROUNDS = 200


def move(name: str, source: DmaBuf, target: DmaBuf) -> None:
    """Move coins from one buffer to the other, one at a time."""
    with Sync(name) as sync, source.map() as one, target.map() as other:
        sync.add(source, Access.WRITE)
        sync.add(target, Access.WRITE)
        here, there = one.cast("q"), other.cast("q")
        for _ in range(ROUNDS):
            with sync.locked(timeout=10):
                here[0] -= 1
                there[0] += 1


def main() -> None:
    with Exporter() as exporter:
        a, b, c = (exporter.allocate(4096, name) for name in "abc")
        tasks = [
            multiprocessing.Process(target=move, args=args)
            for args in (("task A", a, b), ("task B", c, a), ("task C", b, c))
        ]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join()
        coins = []
        for buffer in (a, b, c):
            with buffer.mapped(Access.READ) as memory:
                coins.append(memory.cast("q")[0])
            buffer.close()
    print(f"3 tasks moved {ROUNDS} coins each, in a circle: {coins} are left, {sum(coins)} in all")


if __name__ == "__main__":
    main()
