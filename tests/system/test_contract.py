# SPDX-License-Identifier: MIT
"""Random calls, each compared with what the model of the contract (contract.py) says it comes to.

After every call all that can be seen is compared: who returned and with what, /proc/locks block by
block, who holds, and who waits in which order. Deadlines are far away: what becomes due is up to
the clock, and test_revoke.py's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from actors import Actor, until
from buffers import allocate
from contract import GRANTED, LAST, READ, WAITS, WHOLE, WRITE, Model, Owner, Request, Span
from contract_kernel import (
    SIZE,
    TYPES,
    call_close,
    call_fcntl,
    call_fork,
    call_lock_set,
    call_unlock_set,
    is_gone,
    prepare,
    records,
    start_and_length,
    who_holds,
    who_waits,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from locks import ofd_test
from locks import test as posix_test
from state import accesses, parameter

from dmabuf_sync import Blitter, Job

BUFFERS = 2
ACTORS = 3
NO_DEADLINE_MS = 3_600_000

spans = st.tuples(st.integers(0, LAST - 1), st.integers(1, LAST)).filter(lambda s: s[0] < s[1])
set_spans = st.one_of(st.just(WHOLE), st.sampled_from([(0, 1), (0, 2), (1, 3), (2, 3)]))
types = st.sampled_from([READ, WRITE])
buffers = st.integers(0, BUFFERS - 1)
one = st.integers(0, ACTORS - 1)


class Contract(RuleBasedStateMachine):
    """The kernel beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.fds = [allocate("vdmabuf", SIZE) for _ in range(BUFFERS)]
        self.names = {os.fstat(fd).st_ino: number for number, fd in enumerate(self.fds)}
        self.model = Model(BUFFERS)
        self.actors = [self._new() for _ in range(ACTORS)]
        self.sets: dict[int, Owner] = {}
        """Which set an actor has, by pid."""
        self.children: list[tuple[int, int, Owner | None]] = []
        """Forked children: pid, their parent's, and the set they keep."""
        self.asked: dict[int, Request] = {}
        """Who sleeps in a call, by pid."""
        self.blitter = Blitter()
        self.jobs: list[tuple[Owner, Job]] = []
        self.count = 0

    def _new(self) -> Actor:
        actor = Actor()
        actor.call(prepare)
        return actor

    def _idle(self, index: int) -> Actor | None:
        actor = self.actors[index]
        return None if actor.pid in self.asked else actor

    # The comparison

    def _compare(self, actor: Actor | None = None, expected: int = GRANTED) -> None:
        """All as the model says; `actor` has made a call that comes to `expected`."""
        if actor and expected != WAITS:
            self._ends(actor, expected)
        for request in self.model.served:
            self.asked.pop(request.pid, None)
            for other in self.actors:
                if other.pid == request.pid and other is not actor and request.owner.kind != "job":
                    self._ends(other, GRANTED)
        self.model.served.clear()
        for buffer, fd in enumerate(self.fds):
            holders = sorted(owner.kind for owner in self.model.holders(buffer))
            _until_equal(f"line of {buffer}", self.model.line(buffer), who_waits, fd)
            _until_equal(f"holders of {buffer}", holders, who_holds, fd)
            _until_equal(f"records of {buffer}", self.model.records(buffer), records, fd)
        for other in self.actors:
            assert other.running(), f"the call of {other.pid} returned"
        for owner, job in list(self.jobs):
            waits = any(one.owner == owner for line in self.model.waiting for one in line)
            if waits:
                assert not job.granted
            else:
                job.wait(20)
                job.close()
                self.jobs.remove((owner, job))

    def _ends(self, actor: Actor, expected: int) -> None:
        try:
            actor.result()
            got = GRANTED
        except OSError as error:
            got = error.errno or -1
        assert got == expected, f"{actor.pid}: {_name(got)} instead of {_name(expected)}"

    def _note(self, actor: Actor, outcome: int, owner: Owner) -> None:
        if outcome == WAITS:
            waiting = [one.request for line in self.model.waiting for one in line]
            self.asked[actor.pid] = next(
                one for one in waiting if one.owner == owner and one.pid == actor.pid
            )

    # The calls

    @rule(
        who=one,
        buffer=buffers,
        kind=st.sampled_from(["posix", "posix", "posix", "ofd"]),
        type_=types,
        span=spans,
        wait=st.booleans(),
    )
    def fcntl_lock(
        self, who: int, buffer: int, kind: str, type_: str, span: Span, wait: bool
    ) -> None:
        actor = self._idle(who)
        if not actor:
            return
        owner = self._owner(kind, actor)
        actor.start(call_fcntl, self.fds[buffer], kind, type_, span, wait)
        outcome = self.model.fcntl(owner, actor.pid, buffer, type_, span, wait)
        self._note(actor, outcome, owner)
        self._compare(actor, outcome)

    @rule(who=one, buffer=buffers, kind=st.sampled_from(["posix", "ofd"]), span=spans)
    def fcntl_unlock(self, who: int, buffer: int, kind: str, span: Span) -> None:
        actor = self._idle(who)
        if not actor:
            return
        actor.start(call_fcntl, self.fds[buffer], kind, "", span, False)
        self.model.unlock(self._owner(kind, actor), buffer, span)
        self._compare(actor)

    @rule(who=one, buffer=buffers, kind=st.sampled_from(["posix", "ofd"]), type_=types, span=spans)
    def getlk(self, who: int, buffer: int, kind: str, type_: str, span: Span) -> None:
        actor = self._idle(who)
        if not actor:
            return
        ask = posix_test if kind == "posix" else ofd_test
        owner = self._owner(kind, actor)
        found = actor.call(ask, self.fds[buffer], TYPES[type_], *start_and_length(span))
        conflicts = self.model.conflicts_of(owner, buffer, type_, span)
        assert bool(found) == bool(conflicts), f"F_GETLK: {found} instead of {conflicts}"
        if found and not any(other.kind == "sync" for other in conflicts):
            names = {other.name if other.kind == "posix" else -1 for other in conflicts}
            assert found[3] in names, f"F_GETLK: {found} instead of {conflicts}"

    @rule(
        who=one,
        wanted=st.lists(
            st.tuples(buffers, types, set_spans),
            min_size=1,
            max_size=BUFFERS,
            unique_by=lambda each: each[0],
        ),
        wait=st.booleans(),
    )
    def lock_set(self, who: int, wanted: list[tuple[int, str, Span]], wait: bool) -> None:
        actor = self._idle(who)
        if not actor or actor.pid in self.sets:
            return
        self.count += 1
        owner = Owner("sync", self.count)
        actor.start(call_lock_set, [(self.fds[b], t, s) for b, t, s in wanted], wait)
        outcome = self.model.lock_set(owner, actor.pid, wanted, wait)
        if outcome in (GRANTED, WAITS):
            self.sets[actor.pid] = owner
        self._note(actor, outcome, owner)
        self._compare(actor, outcome)

    @rule(who=one)
    def unlock_set(self, who: int) -> None:
        actor = self._idle(who)
        if not actor or actor.pid not in self.sets:
            return
        if any(owner == self.sets[actor.pid] for _, _, owner in self.children):
            return  # it would be unlocked, but is not closed: forked children keep it
        actor.start(call_unlock_set)
        self.model.unlock_all(self.sets.pop(actor.pid))
        self._compare(actor)

    @rule(dst=buffers, src=st.none() | buffers)
    def job(self, dst: int, src: int | None) -> None:
        self.count += 1
        owner = Owner("job", self.count)
        wanted = [(dst, WRITE)]
        if src is None or src == dst:
            job = self.blitter.fill(self.fds[dst], 0x5A, wait=False)
        else:
            wanted.append((src, READ))
            job = self.blitter.copy(self.fds[src], self.fds[dst], wait=False)
        self.jobs.append((owner, job))
        self.model.submit(owner, os.getpid(), wanted)
        self._compare()

    @rule(who=one, buffer=buffers)
    def close(self, who: int, buffer: int) -> None:
        actor = self._idle(who)
        if not actor:
            return
        actor.start(call_close, self.fds[buffer])
        self.model.unlock(self._owner("posix", actor), buffer, WHOLE)
        self._compare(actor)

    @rule(who=one)
    def fork(self, who: int) -> None:
        """Its child has the set too, and none of its posix locks."""
        actor = self._idle(who)
        if not actor or len(self.children) == 2:
            return
        child = actor.call(call_fork)
        self.children.append((child, actor.pid, self.sets.get(actor.pid)))
        self._compare()

    @rule()
    def kill_child(self) -> None:
        if not self.children:
            return
        child, parent, kept = self.children.pop()
        os.kill(child, signal.SIGKILL)
        until(lambda: is_gone(child), "the end of a child")
        alive = self.sets.get(parent) == kept or any(owner == kept for _, _, owner in self.children)
        if kept and not alive:
            self.model.unlock_all(kept)
        self._compare()

    @rule(who=one)
    def interrupt(self, who: int) -> None:
        """A signal, whose handler raises: the call ends, and nothing of it is left."""
        actor = self.actors[who]
        request = self.asked.get(actor.pid)
        if not request or request.owner.kind == "sync":
            return
        del self.asked[actor.pid]
        actor.send_signal(signal.SIGUSR1)
        self.model.cancel(lambda other: other is request)
        self._compare(actor, errno.EINTR)

    @rule(who=one)
    def kill(self, who: int) -> None:
        """Whatever it does; another process takes its place."""
        actor = self.actors[who]
        actor.kill()
        self.asked.pop(actor.pid, None)
        self.actors[who] = self._new()
        self.model.cancel(lambda other: other.pid == actor.pid)
        self.model.unlock_all(self._owner("posix", actor))
        kept = self.sets.pop(actor.pid, None)
        if kept and not any(owner == kept for _, _, owner in self.children):
            self.model.unlock_all(kept)
        self._compare()

    def _owner(self, kind: str, actor: Actor) -> Owner:
        return Owner(kind, actor.pid if kind == "posix" else 0)

    def teardown(self) -> None:
        for actor in self.actors:
            actor.kill()
        for child, _, _ in self.children:
            os.kill(child, signal.SIGKILL)
        for _, job in self.jobs:
            job.close()
        self.blitter.close()
        for fd in self.fds:
            os.close(fd)
        until(lambda: not accesses(), "giving back all buffers")


def _until_equal(what: str, model: Any, ask: Callable[[int], Any], fd: int) -> None:
    """What is on its way out is seen for a moment longer."""
    with contextlib.suppress(AssertionError):
        until(lambda: ask(fd) == model)
    kernel = ask(fd)
    assert kernel == model, f"{what}: {kernel} instead of {model}"


def _name(outcome: int) -> str:
    return {GRANTED: "success", WAITS: "waiting"}.get(outcome) or errno.errorcode[outcome]


def run(examples: int, steps: int) -> None:
    names = ("max_hold_timeout_ms", "hold_timeout_ms")
    old = {name: parameter(name, NO_DEADLINE_MS) for name in names}
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        # Shrinking would take an emulated CPU hours; the calls that failed are printed.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Contract, settings=chosen)
    finally:
        for name, value in reversed(old.items()):
            parameter(name, value)


@pytest.mark.timeout(300)
def test_as_the_model_says() -> None:
    run(4, 30)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_as_the_model_says_for_long() -> None:
    run(600, 60)
