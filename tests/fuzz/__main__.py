# SPDX-License-Identifier: MIT
"""Random calls in several processes, judged by the rules of the queue.

    python3 tests/fuzz --seconds 60 --seed 1 [--round N]

It goes in rounds, each with workers (worker.c) of its own whose calls follow from the seed and the
number of the round; now and then one is killed. At the end of a round nothing may be held or waited
for, the counters have to add up, and the trace is replayed through the rules. --round repeats a
single one; how the calls of the workers meet is up to the scheduler. Every third round makes more
calls and is not traced, which takes time that others then have to meet in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from actors import until
from buffers import allocate, available
from driver import load, unload
from modules import load_all, unload_framework
from state import accesses, counters
from state import parameter as module_parameter

from dmabuf_sync import Sync
from dmabuf_sync.trace import Recorder, Violation, parse, replay

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
CALLS = 1500
"""Of each of the two threads of a worker, in a round that is traced."""
UNTRACED = 10
"""How many times more in one that is not."""
HOLD_MS = 5
PATIENCE = 300.0
"""Seconds for a round. No call waits longer than a few holds."""
COUNTERS = struct.Struct("QQ")
EXPORTERS = ("vdmabuf", "heap", "udmabuf", "vgem")
PARAMETERS = ("hold_timeout_ms", "max_hold_timeout_ms")


class Worker:
    """A process of worker.c."""

    def __init__(self, program: Path, seed: int, calls: int, mail: int, files: list[list[int]]):
        shared, buffers = files
        self._counters = os.memfd_create("counters", 0)
        os.truncate(self._counters, COUNTERS.size)
        numbers = [seed, calls, self._counters, mail, len(shared), *shared, *buffers]
        self.process = subprocess.Popen(
            [program, *map(str, numbers)], pass_fds=(self._counters, mail, *shared, *buffers)
        )

    def calls(self) -> int:
        """How many it has made; at the end."""
        total = sum(COUNTERS.unpack(os.pread(self._counters, COUNTERS.size, 0)))
        os.close(self._counters)
        return total


def stuck(workers: list[Worker]) -> str:
    """What is known of workers that do not end, which are killed then."""
    text = [f"{len(workers)} workers do not end"]
    for worker in workers:
        for path in sorted(Path(f"/proc/{worker.process.pid}/task").glob("*/stack")):
            with contextlib.suppress(OSError):
                text.append(f"{path}:\n{path.read_text()}")
    text += map(str, accesses())
    for worker in workers:
        worker.process.kill()
    return "\n".join(text)


def reap(workers: list[Worker], chance: random.Random) -> None:
    """Wait until all have ended; some are killed before. Raises AssertionError."""
    running = list(workers)
    deadline = time.monotonic() + PATIENCE
    next_kill = time.monotonic() + chance.uniform(0.5, 5)
    while running:
        for worker in list(running):
            status = worker.process.poll()
            if status is None:
                continue
            running.remove(worker)
            # SIGBUS: a buffer whose memory is not to be had was touched.
            assert status in (0, -signal.SIGKILL, -signal.SIGBUS), f"a worker ends with {status}"
        if running and time.monotonic() > next_kill:
            chance.choice(running).process.kill()
            next_kill = time.monotonic() + chance.uniform(1, 10)
        assert time.monotonic() < deadline, stuck(running)
        time.sleep(0.005)


def run_workers(program: Path, chance: random.Random, calls: int) -> int:
    """Let workers loose on some buffers; returns how many calls they have made."""
    exporters = [name for name in EXPORTERS if available(name)]
    buffers = [allocate(chance.choice(exporters), 65536) for _ in range(chance.randint(3, 5))]
    mail = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.ExitStack() as stack:
        shared = [stack.enter_context(Sync("shared")).fileno() for _ in range(2)]
        workers = [
            Worker(program, chance.getrandbits(32), calls, mail[n % 2].fileno(), [shared, buffers])
            for n in range(WORKERS)
        ]
        for fd in buffers:
            os.close(fd)
        try:
            reap(workers, chance)
        finally:
            for end in mail:
                end.close()
    return sum(worker.calls() for worker in workers)


def settle(before: dict[str, int]) -> None:
    """Nothing is held, all jobs have ended, the counters add up; or raises AssertionError."""
    until(lambda: not accesses(), "giving back all buffers")

    def since() -> dict[str, int]:
        return {name: value - before[name] for name, value in counters().items()}

    until(lambda: since()["job_starts"] == since()["job_ends"], "the end of all jobs")
    now = since()
    assert now["grants"] <= now["requests"], f"the counters do not add up: {now}"


def fuzz_round(program: Path, seed: str, traced: bool) -> int:
    """One round; returns the number of calls. Raises AssertionError, Violation or ValueError."""
    chance = random.Random(seed)
    for name, value in (("hold_timeout_ms", HOLD_MS), ("max_hold_timeout_ms", 200)):
        module_parameter(name, value)
    before = counters()
    if not traced:
        calls = run_workers(program, chance, CALLS * UNTRACED)
        settle(before)
        return calls
    with Recorder() as recorder:
        calls = run_workers(program, chance, CALLS)
        settle(before)
        recorder.stop()
        log = recorder.log()
    try:
        replay(parse(log))
    except (Violation, ValueError):
        os.makedirs("build", exist_ok=True)
        Path(f"build/fuzz-{seed.replace('/', '-')}.log").write_text("".join(log))
        raise
    return calls


def fuzz(program: Path, seconds: float, seed: int, only: int | None) -> int:
    """Go on until the time is over or something is wrong; returns the exit status."""
    end = time.monotonic() + seconds
    number, calls = only or 0, 0
    while time.monotonic() < end:
        try:
            calls += fuzz_round(program, f"{seed}/{number}", traced=number % 3 != 2)
        except (AssertionError, Violation, ValueError) as error:
            print(f"fuzz: --seed {seed} --round {number}: {error}", file=sys.stderr)
            return 1
        number += 1
        if only is not None:
            break
    print(f"fuzz: {calls} calls up to round {number}, seed {seed}", flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Make random calls.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--round", type=int, help="this one only")
    arguments = parser.parse_args()
    load()
    old = {name: module_parameter(name) for name in PARAMETERS}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "worker"
        words = ["gcc", "-O2", "-pthread", f"-I{ROOT}/kernel/include/uapi"]
        subprocess.run([*words, ROOT / "tests/fuzz/worker.c", "-o", program], check=True)
        status = fuzz(program, arguments.seconds, arguments.seed, arguments.round)
    for name, value in old.items():
        module_parameter(name, value)
    if not status:
        # All that was taken was given back only if everything can be unloaded.
        unload()
        unload_framework()
        load_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
