# SPDX-License-Identifier: MIT
# Everything that waits can be awaited: locks, DMA jobs and their fences. Nothing here blocks the
# event loop, and cancelling a wait takes its request out of the kernel's queue.
"""Locks and DMA jobs in asyncio."""

import asyncio

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter, Sync


async def produce(blitter: Blitter, buffer: DmaBuf) -> None:
    """The DMA engine fills the buffer, again and again."""
    for color in (1, 2, 3):
        with blitter.fill(buffer, color, bytes_per_pixel=1, wait=False) as job:
            await job
        print(f"engine: filled with {color}")
        await asyncio.sleep(0.2)


async def consume(buffer: DmaBuf) -> None:
    """A task that reads; a Sync of its own excludes the other tasks, too."""
    with Sync("consumer") as sync:
        sync.add(buffer, Access.READ)
        for _ in range(3):
            await asyncio.sleep(0.15)
            async with sync.locked(timeout=5):
                with buffer.map(Access.READ) as memory:
                    print(f"reader: found {memory[0]}, all the same: {len(set(memory)) == 1}")


async def give_up(buffer: DmaBuf) -> None:
    """A lock that somebody else does not give back."""
    with Sync("other") as other:
        other.add(buffer, Access.WRITE)
        async with other.locked():
            try:
                async with asyncio.timeout(0.2):
                    await buffer.lock_async(Access.READ)
            except TimeoutError:
                print("asyncio.timeout() took the request back")


async def main() -> None:
    with Exporter() as exporter, Blitter() as blitter, exporter.allocate(4096) as buffer:
        await asyncio.gather(produce(blitter, buffer), consume(buffer))
        await give_up(buffer)


if __name__ == "__main__":
    asyncio.run(main())
