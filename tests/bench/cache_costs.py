# SPDX-License-Identifier: MIT
"""What cache maintenance costs, and what skipping, ranges and coherent memory save.

    make vm ICOUNT=1 APPEND=swiotlb=force CMD='python3 tests/bench/cache_costs.py [--json] [rounds]'

With swiotlb=force every byte that a cache would be cleaned of is copied, so the costs of a machine
without coherent DMA become visible, and the bytes are counted by the exporter. Each row is a turn
that is repeated: the median time of a turn, and the bytes that were moved for it. With ICOUNT=1
time is counted in instructions and does not depend on what else the machine does.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parents[1] / "system" / "exporter"))

from dma_device import TO_DEVICE, DmaDevice
from exporter_calls import PAGE, stats
from locks import READ, WRITE, lock, unlock

from dmabuf_sync import Access, Blitter, DmaBuf, Exporter, Rect, Sync

SIZE = 4 << 20
SPEED = "/sys/module/vblit/parameters/bytes_per_second"


@dataclass(frozen=True)
class Row:
    """A turn. Times are microseconds."""

    group: str
    name: str
    median_us: float
    bytes_moved: int


class Bench:
    """Collects rows; each turn is done `rounds` times."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.rows: list[Row] = []
        self.group = ""

    def add(self, name: str, turn: Callable[[], object]) -> None:
        turn()
        before = stats()["synced_bytes"]
        times = []
        for _ in range(self.rounds):
            start = time.perf_counter_ns()
            turn()
            times.append(time.perf_counter_ns() - start)
        moved = (stats()["synced_bytes"] - before) // self.rounds
        self.rows.append(Row(self.group, name, statistics.median(times) / 1000, moved))


@contextmanager
def mapped(buffer: DmaBuf, direction: int = 0) -> Iterator[DmaDevice]:
    """A device that is attached to the buffer and keeps it mapped."""
    one = DmaDevice()
    one.attach(buffer.fileno())
    one.map(direction)
    try:
        yield one
    finally:
        one.close()


def cpu(buffer: DmaBuf, kind: int, start: int = 0, length: int = 0) -> Callable[[], None]:
    """A turn of the CPU, which touches a page of what it locks."""
    fd, memory = buffer.fileno(), buffer.map()
    page = bytes(PAGE)

    def turn() -> None:
        lock(fd, kind, start, length)
        if kind == WRITE:
            memory[start : start + PAGE] = page
        else:
            bytes(memory[start : start + PAGE])
        unlock(fd)

    return turn


def dma(one: DmaDevice, direction: int) -> Callable[[], None]:
    def turn() -> None:
        one.start_dma(direction)
        one.end_dma()

    return turn


def in_turn(*turns: Callable[[], object]) -> Callable[[], None]:
    def turn() -> None:
        for each in turns:
            each()

    return turn


def cpu_turns(bench: Bench, exporter: Exporter) -> None:
    bench.group = "CPU writes a page of a buffer that a device has mapped"
    with exporter.allocate(SIZE) as buffer:
        bench.add("no device has it mapped", cpu(buffer, WRITE))
        with mapped(buffer):
            bench.add("whole buffer locked", cpu(buffer, WRITE))
            bench.add("64 KiB locked", cpu(buffer, WRITE, PAGE, 1 << 16))
            bench.add("the page locked", cpu(buffer, WRITE, PAGE, PAGE))
        with mapped(buffer) as one:
            dma(one, TO_DEVICE)()
            bench.add("whole, device announces its DMA", cpu(buffer, WRITE))
    with exporter.allocate(SIZE, coherent=True) as buffer, mapped(buffer):
        bench.add("whole, coherent buffer", cpu(buffer, WRITE))

    bench.group = "CPU reads a page of it"
    with exporter.allocate(SIZE) as buffer:
        with mapped(buffer):
            bench.add("whole buffer locked", cpu(buffer, READ))
            bench.add("the page locked", cpu(buffer, READ, PAGE, PAGE))
        with mapped(buffer, TO_DEVICE):
            bench.add("whole, device only reads", cpu(buffer, READ))
        with mapped(buffer) as one:
            dma(one, TO_DEVICE)()
            bench.add("whole, device announces its DMA", cpu(buffer, READ))
    with exporter.allocate(SIZE, coherent=True) as buffer, mapped(buffer):
        bench.add("whole, coherent buffer", cpu(buffer, READ))


def hand_over(bench: Bench, exporter: Exporter) -> None:
    bench.group = "CPU reads a page of it beside another CPU access"
    with exporter.allocate(SIZE) as buffer, mapped(buffer), Sync("held") as held:
        held.add(buffer, Access.READ)
        held.lock()
        bench.add("somebody reads all the time", cpu(buffer, READ))
        held.unlock()
        bench.add("nobody does", cpu(buffer, READ))


def device_turns(bench: Bench, exporter: Exporter) -> None:
    bench.group = "a device's turn"
    with exporter.allocate(SIZE) as buffer:
        one = DmaDevice()
        one.attach(buffer.fileno())
        bench.add("maps and unmaps", in_turn(one.map, one.unmap))
        one.map()
        bench.add("stays mapped, reads what is not newer", dma(one, TO_DEVICE))
        wrote = cpu(buffer, WRITE)
        bench.add("stays mapped, reads what the CPU wrote", in_turn(wrote, dma(one, TO_DEVICE)))
        bench.add("stays mapped, writes", dma(one, 0))
        one.close()
    with exporter.allocate(SIZE, coherent=True) as buffer:
        one = DmaDevice()
        one.attach(buffer.fileno())
        bench.add("maps and unmaps a coherent buffer", in_turn(one.map, one.unmap))
        one.close()


def beside(bench: Bench, exporter: Exporter) -> None:
    """The engine fills the upper half for 200 ms; the CPU has 20 turns of 5 ms on the lower."""
    bench.group = "20 turns of 5 ms of the CPU beside a job of 200 ms"
    half = SIZE // 2
    rect = Rect(0, 0, half, 1, pitch=half, bytes_per_pixel=1, offset=half)

    def both(length: int) -> None:
        with DmaBuf(os.dup(buffer.fileno())) as mine, Blitter() as blitter:
            worker = threading.Thread(
                target=lambda: blitter.fill(buffer, 1, rect).wait(timeout=30)
            )
            worker.start()
            for _ in range(20):
                with Sync("turn") as sync:
                    sync.add(mine, Access.WRITE, offset=0, length=length)
                    with sync.locked():
                        time.sleep(0.005)
            worker.join()

    with open(SPEED, "w") as file:
        file.write(str(half * 5))
    rounds, bench.rounds = bench.rounds, 3
    with exporter.allocate(SIZE) as buffer:
        bench.add("whole buffer locked", lambda: both(0))
        bench.add("lower half locked", lambda: both(half))
    bench.rounds = rounds
    with open(SPEED, "w") as file:
        file.write("0")


def main() -> None:
    arguments = [word for word in sys.argv[1:] if word != "--json"]
    bench = Bench(int(arguments[0]) if arguments else 50)
    module = os.path.join(os.environ["DMABUF_SYNC_MODULES"], "dsync_importer", "dsync_importer.ko")
    subprocess.run(["insmod", module], check=True)
    try:
        with Exporter() as exporter:
            for part in (cpu_turns, hand_over, device_turns, beside):
                part(bench, exporter)
    finally:
        subprocess.run(["rmmod", "dsync_importer"], check=True)
    if "--json" in sys.argv:
        print(json.dumps([asdict(row) for row in bench.rows], indent=1))
        return
    group = ""
    print(f"buffer of {SIZE >> 20} MiB")
    for row in bench.rows:
        if row.group != group:
            group = row.group
            print(f"\n{group:58}{'us':>12}{'bytes':>12}")
        print(f"  {row.name:56}{row.median_us:12.1f}{row.bytes_moved:12}")


if __name__ == "__main__":
    main()
