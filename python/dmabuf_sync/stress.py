# SPDX-License-Identifier: MIT
"""Stress: processes that lock at random, while two things are checked.

- *Data.* Who holds a buffer writes a stamp of its own all over it, or reads it twice: nobody else
  may have written meanwhile.
- *Rules.* Every event of the buffers is replayed through the rules of docs/algorithm.md.

The seed settles what each process does; how processes meet is up to the scheduler. Needs the kernel
modules, and root for the replay.
"""

from __future__ import annotations

import json
import os
import random
import select
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from . import Access, Blitter, Deadlock, DmaBuf, Exporter, LockRevoked, Sync
from .demo.process import Child
from .trace.live import Checker

PAGE = os.sysconf("SC_PAGESIZE")
SIZE = 4 * PAGE
_STEP = 1024  # bytes between the stamps
_HOLD = 0.02  # seconds until a hold may be revoked
_TIMEOUT = 10.0  # seconds that a lock may take; nothing holds one for longer than _HOLD
_KILL = 0.5  # seconds from kill to kill


@dataclass
class Outcome:
    """What a run has done, and what was wrong."""

    seed: int
    seconds: float = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Locks, sets, jobs, and so on; kills of processes."""
    events: Counter[str] = field(default_factory=Counter)
    """Events that were replayed; none without root."""
    problems: list[str] = field(default_factory=list)


def run(
    seconds: float,
    seed: int,
    *,
    processes: int,
    buffers: int,
    replay: bool,
    done: Callable[[float], None] = lambda seconds: None,
) -> Outcome:
    """Let `processes` lock `buffers` for so long; `done` gets the seconds that have gone by.

    OSError as devices and tracefs give it.
    """
    outcome = Outcome(seed)
    chance = random.Random(seed)
    start = time.monotonic()
    with ExitStack() as stack:
        exporter = stack.enter_context(Exporter())
        Blitter().close()  # each process opens its own; without any this is where it ends
        made = [
            stack.enter_context(exporter.allocate(SIZE, name=f"stress {number}"))
            for number in range(buffers)
        ]
        inodes = {buffer.info().inode for buffer in made}
        checker = stack.enter_context(Checker(inodes)) if replay else None
        crew = stack.enter_context(_Crew(made, start + seconds, chance))
        for _ in range(processes):
            crew.hire()
        while not crew.watch(outcome):
            if checker and not checker.check():
                break
            passed = time.monotonic() - start
            done(passed - outcome.seconds)
            outcome.seconds = passed
        crew.finish(outcome)
        if checker:
            checker.finish()
            outcome.events = checker.counts
            outcome.problems += checker.problems
    outcome.seconds = time.monotonic() - start
    return outcome


class _Crew:
    """The processes; those that are killed have successors."""

    def __init__(self, buffers: Sequence[DmaBuf], until: float, chance: random.Random) -> None:
        self._buffers = buffers
        self._until = until
        self._chance = chance
        self._stack = ExitStack()
        self._running: dict[int, Child] = {}
        self._next_kill = time.monotonic() + _KILL

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        for pipe in self._running:
            os.close(pipe)

    def hire(self) -> None:
        """Start a process."""
        reader, writer = os.pipe()
        seed = self._chance.getrandbits(32)

        def work() -> None:
            with ExitStack() as stack:
                worker = _Worker(self._buffers, random.Random(seed), stack)
                while time.monotonic() < self._until and not worker.problems:
                    worker.step()
            report = {"counts": worker.counts, "problems": worker.problems}
            os.write(writer, json.dumps(report).encode())

        try:
            self._running[reader] = self._stack.enter_context(Child(work))
        finally:
            os.close(writer)

    def watch(self, outcome: Outcome) -> bool:
        """Wait a moment; kill somebody when it is time. True when all have ended."""
        for pipe in select.select([*self._running], [], [], 0.1)[0]:
            self._settle(pipe, outcome)
        now = time.monotonic()
        if self._running and self._next_kill < now < self._until - _KILL:
            self._next_kill = now + _KILL
            pipe = self._chance.choice(sorted(self._running))
            self._running.pop(pipe).kill()
            os.close(pipe)
            outcome.counts["kills"] += 1
            self.hire()
        if self._running and now > self._until + 2 * _TIMEOUT:
            outcome.problems.append(f"{len(self._running)} processes do not come to an end")
            return True
        return not self._running

    def _settle(self, pipe: int, outcome: Outcome) -> None:
        child = self._running.pop(pipe)
        data = os.read(pipe, 1 << 16)
        os.close(pipe)
        try:
            child.join()
        except ChildProcessError as error:
            outcome.problems.append(str(error))
            return
        report = json.loads(data)
        outcome.counts.update(report["counts"])
        outcome.problems += report["problems"]

    def finish(self, outcome: Outcome) -> None:
        """End those that are left."""
        for pipe in [*self._running]:
            self._running.pop(pipe).kill()
            os.close(pipe)


class _Worker:
    """One process: locks in all ways there are, and looks whether it is alone."""

    def __init__(
        self, buffers: Sequence[DmaBuf], chance: random.Random, stack: ExitStack
    ) -> None:
        self._buffers = buffers
        self._chance = chance
        self._memory = {buffer: stack.enter_context(buffer.map()) for buffer in buffers}
        self._blitter = stack.enter_context(Blitter())
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    def step(self) -> None:
        """Do one thing. Errors that locks may end with are part of it."""
        ways = (self._one, self._one, self._nested, self._set, self._set, self._jobs)
        way = self._chance.choice(ways)
        self.counts[way.__name__.lstrip("_")] += 1
        try:
            way()
        except Deadlock:
            self.counts["deadlocks"] += 1
        except LockRevoked:
            self.counts["revoked"] += 1
        except TimeoutError:
            self.problems.append(f"{way.__name__}: no lock within {_TIMEOUT:.0f} s")
        except BlockingIOError:
            self.counts["busy"] += 1
        finally:
            for buffer in self._buffers:
                with suppress(LockRevoked):
                    buffer.unlock()
        if self._chance.random() < 0.5:
            time.sleep(self._chance.random() * 0.002)

    def _access(self) -> Access:
        return self._chance.choice((Access.READ, Access.WRITE))

    def _blocking(self) -> bool:
        return self._chance.random() < 0.8

    def _lock(self, buffer: DmaBuf, access: Access, offset: int, length: int) -> None:
        if self._blocking():
            buffer.lock(access, timeout=_TIMEOUT, offset=offset, length=length, hold=_HOLD)
        else:
            buffer.lock(access, blocking=False, offset=offset, length=length)

    def _one(self) -> None:
        """An fcntl lock on a part of a buffer, or all of it."""
        buffer, access = self._chance.choice(self._buffers), self._access()
        offset, length = self._chance.choice(((0, SIZE), (0, PAGE), (PAGE, 2 * PAGE)))
        self._lock(buffer, access, offset, length)
        problem = self._use(buffer, access, offset, length)
        buffer.unlock(offset, length)
        self._alone(problem)

    def _nested(self) -> None:
        """One lock on top of the other, in any order: a deadlock is refused."""
        problems = []
        chosen = self._chance.sample(self._buffers, min(2, len(self._buffers)))
        for buffer in chosen:
            access = self._access()
            self._lock(buffer, access, 0, SIZE)
            problems.append(self._use(buffer, access, 0, SIZE))
        for buffer in chosen:
            buffer.unlock()
        for problem in problems:
            self._alone(problem)

    def _set(self) -> None:
        """Several buffers at once."""
        chosen = self._chance.sample(
            self._buffers, self._chance.randint(1, len(self._buffers))
        )
        with Sync("stress") as sync:
            accesses = [(buffer, self._access()) for buffer in chosen]
            for buffer, access in accesses:
                sync.add(buffer, access)
            if self._blocking():
                sync.lock(timeout=_TIMEOUT, hold=_HOLD)
            else:
                sync.lock(blocking=False)
            problems = [self._use(buffer, access, 0, SIZE) for buffer, access in accesses]
            sync.unlock()
        for problem in problems:
            self._alone(problem)

    def _jobs(self) -> None:
        """DMA, of which nobody waits for the end."""
        if len(self._buffers) > 1 and self._chance.random() < 0.5:
            source, target = self._chance.sample(self._buffers, 2)
            self._blitter.copy(source, target, PAGE, wait=False).close()
        else:
            value = self._chance.getrandbits(32)
            target = self._chance.choice(self._buffers)
            self._blitter.fill(target, value, wait=False).close()

    def _use(self, buffer: DmaBuf, access: Access, offset: int, length: int) -> str:
        """Use what is locked; what is wrong with it, or nothing."""
        memory = self._memory[buffer]
        places = range(offset, offset + length, _STEP)
        if access & Access.WRITE:
            stamp = self._chance.randbytes(8)
            for place in places:
                memory[place : place + 8] = stamp
            before = [stamp] * len(places)
        else:
            before = [bytes(memory[place : place + 8]) for place in places]
        if self._chance.random() < 0.02:
            time.sleep(2 * _HOLD)
        elif self._chance.random() < 0.2:
            time.sleep(0.001)
        for place, stamp in zip(places, before, strict=True):
            if bytes(memory[place : place + 8]) != stamp:
                return f"byte {place} of {buffer.name} was changed under a {access.name} lock"
        return ""

    def _alone(self, problem: str) -> None:
        """To be called when the lock is given back, and so known not to have been revoked."""
        if problem:
            self.problems.append(problem)
