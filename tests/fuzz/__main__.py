# SPDX-License-Identifier: MIT
"""Random calls in several processes, judged by the rules of the queue.

    python3 tests/fuzz --calls 1000000 --seed 1 [--seconds S] [--round N] [--logs FOLDER]

It goes in rounds, each with workers (worker.c) of its own whose calls follow from the seed, the
number of the round and that of the worker; now and then one is killed, and another comes. At the
end of a round nothing may be held or waited for, the counters have to add up, and the trace is
replayed through the rules; with --logs it is left there, for somebody with a faster CPU to replay.
--round repeats a single one; how the calls of the workers meet is up to the scheduler. Every third
round is not traced, which takes time that others then have to meet in.
"""

from __future__ import annotations

import argparse
import contextlib
import math
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

from buffers import allocate, available
from driver import load, unload
from modules import load_all, unload_framework
from state import accesses, until_nothing_is_left

from dmabuf_sync import Sync
from dmabuf_sync.trace import Recorder, Violation, parse, replay

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 8
"""At a time."""
CALLS = 1500
"""Of each of the two threads of a worker, at most."""
ROUND = 24_000
"""Calls after which no more workers come."""
PATIENCE = 600.0
"""Seconds for a round. No call waits longer than a few holds."""
COUNTERS = struct.Struct("QQ")
EXPORTERS = ("vdmabuf", "heap", "udmabuf", "vgem")
# What they are set to before each round; workers change them, too (devices.c).
PARAMETERS = {
    "dmabuf_sync/parameters/hold_timeout_ms": 5,
    "dmabuf_sync/parameters/max_hold_timeout_ms": 200,
    "dmabuf_sync/parameters/job_timeout_ms": 20,
    "vblit/parameters/latency_us": 0,
    "vblit/parameters/fault": 0,
}


class Worker:
    """A process of worker.c."""

    def __init__(self, program: Path, seed: int, mail: int, files: list[list[int]]):
        shared, buffers = files
        self._counters = os.memfd_create("counters", 0)
        os.truncate(self._counters, COUNTERS.size)
        numbers = [seed, CALLS, self._counters, mail, len(shared), *shared, *buffers]
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


class Crew:
    """The workers of a round, of which some are killed."""

    def __init__(self, kills: random.Random):
        self.running: list[Worker] = []
        self.calls = 0
        """Of those that have ended."""
        self._kills = kills
        self._deadline = time.monotonic() + PATIENCE
        self._next_kill = time.monotonic() + kills.uniform(0.5, 5)

    def watch(self) -> None:
        """See to those that have ended, after a moment; raises AssertionError."""
        time.sleep(0.02)
        for worker in list(self.running):
            status = worker.process.poll()
            if status is None:
                continue
            self.running.remove(worker)
            self.calls += worker.calls()
            # SIGBUS: a buffer whose memory is not to be had was touched.
            assert status in (0, -signal.SIGKILL, -signal.SIGBUS), f"a worker ends with {status}"
        if self.running and time.monotonic() > self._next_kill:
            self._kills.choice(self.running).process.kill()
            self._next_kill = time.monotonic() + self._kills.uniform(1, 10)
        assert time.monotonic() < self._deadline, stuck(self.running)


def run_workers(program: Path, seed: str) -> int:
    """Let workers loose on some buffers; returns how many calls they have made."""
    chance = random.Random(seed)
    # When they are killed is up to the clock, and must not change what follows from the seed.
    crew = Crew(random.Random(f"kills {seed}"))
    exporters = [name for name in EXPORTERS if available(name)]
    buffers = [allocate(chance.choice(exporters), 65536) for _ in range(chance.randint(3, 5))]
    mail = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.ExitStack() as stack:
        for fd in buffers:
            stack.callback(os.close, fd)
        for end in mail:
            stack.callback(end.close)
        shared = [stack.enter_context(Sync("shared")).fileno() for _ in range(2)]
        while crew.calls < ROUND:
            while len(crew.running) < WORKERS:
                end = mail[chance.getrandbits(1)].fileno()
                files = [shared, buffers]
                crew.running.append(Worker(program, chance.getrandbits(32), end, files))
            crew.watch()
    # From now on it is a worker that is the last to close a buffer.
    while crew.running:
        crew.watch()
    return crew.calls


def set_parameters() -> None:
    for name, value in PARAMETERS.items():
        Path("/sys/module", name).write_text(str(value))


def settle() -> None:
    """Nothing is held, all jobs have ended, the counters add up; or raises AssertionError."""
    # Jobs that begin now shall not hang.
    set_parameters()
    until_nothing_is_left()


def fuzz_round(program: Path, seed: str, traced: bool, logs: Path | None) -> int:
    """One round; returns the number of calls. Raises AssertionError, Violation or ValueError."""
    set_parameters()
    if not traced:
        calls = run_workers(program, seed)
        settle()
        return calls
    with Recorder() as recorder:
        calls = run_workers(program, seed)
        settle()
        recorder.stop()
        log = recorder.log()
        assert not recorder.lost(), f"{recorder.lost()} events are lost"
    name = f"fuzz-{seed.replace('/', '-')}.log"
    if logs:
        # At once: each write is a message to the host.
        (logs / name).write_bytes("".join(log).encode())
        return calls
    try:
        replay(parse(log))
    except (Violation, ValueError):
        os.makedirs("build", exist_ok=True)
        Path("build", name).write_text("".join(log))
        raise
    return calls


def fuzz(program: Path, wanted: argparse.Namespace) -> int:
    """Go on until the calls are made or the time is over, or something is wrong; returns status."""
    start = time.monotonic()
    number, calls = wanted.round or 0, 0
    while calls < wanted.calls and time.monotonic() < start + wanted.seconds:
        seed = f"{wanted.seed}/{number}"
        try:
            calls += fuzz_round(program, seed, number % 3 != 2, wanted.logs)
        except (AssertionError, Violation, ValueError) as error:
            print(f"fuzz: --seed {wanted.seed} --round {number}: {error}", file=sys.stderr)
            return 1
        number += 1
        took = f"{time.monotonic() - start:.0f} s"
        print(f"fuzz: {calls} calls up to round {number}, seed {wanted.seed}, {took}", flush=True)
        if wanted.round is not None:
            break
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description="Make random calls.")
    parser.add_argument("--calls", type=int, default=1 << 60)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--round", type=int, help="this one only")
    parser.add_argument("--logs", type=Path, help="leave the traces in this folder")
    wanted = parser.parse_args()
    load()
    old = {name: Path("/sys/module", name).read_text() for name in PARAMETERS}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "worker"
        # Static: under emulation, to link at every exec takes longest.
        words = ["gcc", "-O2", "-static", "-pthread", f"-I{ROOT}/kernel/include/uapi"]
        sources = sorted(Path(__file__).parent.glob("*.c"))
        subprocess.run([*words, *sources, "-o", program], check=True)
        status = fuzz(program, wanted)
    for name, value in old.items():
        Path("/sys/module", name).write_text(value)
    if not status:
        # All that was taken was given back only if everything can be unloaded.
        unload()
        unload_framework()
        load_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
