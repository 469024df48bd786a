# SPDX-License-Identifier: MIT
"""Replays a log of the dmabuf_sync tracepoints through the rules of docs/algorithm.md.

    with open("/sys/kernel/tracing/trace") as log:
        counts = replay(parse(log))

What is checked, event by event:

- conflicting accesses are never granted together, in any order of owners and kinds;
- nobody is granted past a conflicting request that waits in front, except an owner whose hold
  keeps that one back, or one that waits in front of that one; who was moved by the search for
  cycles overtakes only those who wait for it;
- the buffers of a set are granted in one step;
- the first waiter of a buffer that nobody holds, nor is unlocking, has been granted; a set that is
  first on all its buffers is granted soon (ripe.py);
- only what is overdue and wanted is revoked, and a deadlock is a cycle of holds;
- every grant is given back once: leave, release;
- jobs are granted, published, started, ended and given back in this order, and one that conflicts
  with an earlier job starts after that one's end.

The log has to begin and end with nothing held and nobody waiting.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import NoReturn

from .accesses import Access, Job, Queue, State, dependents
from .events import Event, parse
from .ripe import RipeSets

# Within how many events a thread that unlocks is through with it: others may run meanwhile.
UNLOCKING = 1000


class Violation(Exception):
    """The log breaks a rule."""


def replay(events: Iterable[Event]) -> Counter[str]:
    """Check a whole log; return how many events it had of each name.

    Also counted are the grants "after waiting" and the holds that were "shared".
    Raises Violation at the first broken rule.
    """
    rules = Rules()
    for event in events:
        rules.feed(event)
    rules.finish()
    return rules.counts


class Rules:
    """The state of all queues, as the events so far have made it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._queues: dict[str, Queue[Access]] = defaultdict(Queue)
        self._accesses: dict[str, Access] = {}
        self._jobs: dict[str, Job] = {}
        self._partial: dict[str, Access] = {}
        self._unlocked: dict[int, Event] = {}
        """Of threads that may not be through with it: the exporter ends ranges without a lock."""
        self._ripe = RipeSets(self._queues)
        self._event: Event | None = None

    def feed(self, event: Event) -> None:
        """Check the next event; raises Violation."""
        self._event = event
        self.counts[event.name] += 1
        handler: Callable[[Event], None] | None = getattr(self, f"_on_{event.name}", None)
        if handler is None:
            self._broken("there is no such event")
        if "resv" in event.fields and event.name != "request":
            self._check_nobody_forgotten(event)
        self._unlocked.pop(event.task, None)
        if event.name in ("unlock", "leave"):
            self._unlocked[event.task] = event
        handler(event)
        if forgotten := self._ripe.look(event, self._accesses.values()):
            self._broken(f"nothing keeps back the set of {forgotten}")

    @property
    def idle(self) -> bool:
        """Nothing is held, and nobody waits."""
        return not self._accesses and not self._jobs

    def finish(self) -> None:
        """Check that nothing is left; raises Violation."""
        for access in self._accesses.values():
            self._broken(f"the log ends with {access}")
        for owner in self._jobs:
            self._broken(f"the log ends with the job of {owner}")

    def _broken(self, rule: str) -> NoReturn:
        raise Violation(f"{rule}\nat {self._event}")

    def _known(self, event: Event, *states: State) -> Access:
        access = self._accesses.get(event.fields["access"])
        if access is None:
            self._broken("nobody has asked for that")
        if access.owner != event.fields["owner"] or access.resv != event.fields["resv"]:
            self._broken(f"that is {access}")
        if access.state not in states:
            self._broken(f"not from {access.state.value}: {access}")
        return access

    # Rules that hold between any two events.

    def _check_nobody_forgotten(self, event: Event) -> None:
        queue = self._queues[event.fields["resv"]]
        for access in self._partial.values():
            if access.resv == event.fields["resv"] and (
                event.name != "grant" or event.fields["owner"] != access.owner
            ):
                self._broken(f"a set was granted without {access}")
        if queue.granted or not queue.waiting or queue.waiting[0].name == event.fields["access"]:
            return
        first = queue.waiting[0]
        if any(
            access.dma and access.state is State.ASKED and access.resv == first.resv
            for access in self._accesses.values()
        ):
            return  # who asks for a device may be cleaning caches for it
        if any(
            other.task != event.task
            and other.fields["resv"] == first.resv
            and event.time - other.time < UNLOCKING
            for other in self._unlocked.values()
        ):
            return  # who unlocks may be cleaning caches of bytes that nobody holds any more
        if first.is_fcntl or len(self._request(first)) == 1:
            self._broken(f"nothing keeps back {first}")

    def _request(self, access: Access) -> list[Access]:
        """Return all accesses that are granted together with this one."""
        if access.is_fcntl:
            return [access]
        return [other for other in self._accesses.values() if other.owner == access.owner]

    def _keeps(self, held: Access, access: Access) -> bool:
        """Does a granted access keep another one back? Not a published job another job."""
        if held.kind == access.kind == "job" and held.owner in self._jobs:
            return False
        return held.keeps(access)

    def _owner_keeps(self, owner: str, waiting: Access) -> bool:
        held = self._queues[waiting.resv].held_by(owner)
        return any(access.stays and self._keeps(access, waiting) for access in held)

    def _may_keep(self, held: Access, access: Access) -> bool:
        """As _keeps(), but CPU and device may keep each other off the whole buffer.

        So they do where the exporter cannot keep ranges apart, or the CPU has left dirty caches.
        """
        return self._keeps(held, access) or (
            access.dma != held.dma and held.owner != access.owner
        )

    def _may_overtake(self, owner: str, waiting: Access) -> bool:
        held = self._queues[waiting.resv].held_by(owner)
        return any(access.stays and self._may_keep(access, waiting) for access in held)

    # From the request to the grant.

    def _on_request(self, event: Event) -> None:
        access = Access.of(event)
        if access.name in self._accesses:
            self._broken(f"asked for twice: {self._accesses[access.name]}")
        self._accesses[access.name] = access

    def _on_wait(self, event: Event) -> None:
        access = self._known(event, State.ASKED)
        queue = self._queues[access.resv]
        passed = self._waiter(event, queue)
        behind = dependents(
            queue.waiting, lambda waiting: self._owner_keeps(access.owner, waiting)
        )
        if passed is None:
            if behind:
                self._broken(f"behind {behind[0]}, which waits for what its owner holds")
        elif passed not in self._may_pass(access):
            self._broken(f"has no right to overtake {passed}")
        access.passes = self._may_pass(access)
        queue.waiting.append(access)
        queue.move_behind(access, [*behind, passed] if passed else [])
        access.state = State.WAITING

    def _may_pass(self, access: Access) -> list[Access]:
        """Return those who wait for its owner, or behind such a one."""
        return dependents(
            self._queues[access.resv].waiting,
            lambda waiting: self._may_overtake(access.owner, waiting),
            certainly=False,
        )

    def _waiter(self, event: Event, queue: Queue[Access]) -> Access | None:
        """Return who is passed, if anybody."""
        before = event.fields["before"]
        if int(before, 16) == 0:
            return None
        for access in queue.waiting:
            if access.name == before:
                return access
        self._broken(f"{before} does not wait here")

    def _on_overtake(self, event: Event) -> None:
        access = self._known(event, State.WAITING)
        queue = self._queues[access.resv]
        passed = self._waiter(event, queue)
        in_front = queue.in_front(access)
        if access.kind != "posix":
            self._broken(f"only processes are moved, not {access}")
        if passed is None or passed not in in_front:
            self._broken(f"{passed} does not wait in front of it")
        if access.owner not in self._waits_for(self._request(passed), holds_only=False):
            self._broken(f"no cycle goes through {passed}")
        access.passes += dependents(in_front, lambda waiting: waiting is passed, certainly=False)
        queue.move_behind(access, [passed])

    def _on_deadlock(self, event: Event) -> None:
        access = self._known(event, State.WAITING)
        if access.kind != "posix":
            self._broken(f"not looked for: {access}")
        if access.owner not in self._waits_for([access], holds_only=True):
            self._broken(f"no cycle of holds goes through {access}")

    def _waits_for(self, start: list[Access], *, holds_only: bool) -> set[str]:
        """Return the owners that these accesses wait for, also through others."""
        owners: set[str] = set()
        todo = list(start)
        while todo:
            access = todo.pop()
            queue = self._queues[access.resv]
            keeps = self._keeps if holds_only else self._may_keep
            found = {held.owner for held in queue.granted if keeps(held, access)}
            if not holds_only:
                found |= {
                    first.owner
                    for first in queue.in_front(access)
                    # Either may be a device that waits for caches to be cleaned.
                    if access.conflicts(first) or access.dma or first.dma
                }
            found -= owners
            owners |= found
            todo += [
                other
                for other in self._accesses.values()
                if other.owner in found and other.state is State.WAITING
            ]
        return owners

    def _on_cancel(self, event: Event) -> None:
        # A direct grant is undone when there is no memory for its record.
        access = self._known(event, State.ASKED, State.WAITING, State.PENDING)
        if access.state is State.WAITING:
            self._queues[access.resv].waiting.remove(access)
        elif access.state is State.PENDING:
            self._queues[access.resv].granted.remove(access)
        del self._accesses[access.name]

    def _on_grant(self, event: Event) -> None:
        access = self._known(event, State.ASKED, State.WAITING)
        queue = self._queues[access.resv]
        for held in queue.granted:
            if self._keeps(held, access):
                self._broken(f"{access} while there is {held}")
        passes = self._may_pass(access) if access.state is State.ASKED else access.passes
        for first in queue.waiting:
            if first is access:
                break
            if access.conflicts(first) and first not in passes:
                self._broken(f"{access} passes {first}")
        if access.state is State.WAITING:
            queue.waiting.remove(access)
            self.counts["after waiting"] += 1
        if any(other.owner != access.owner for other in queue.granted):
            self.counts["shared"] += 1
        access.state = State.PENDING
        queue.granted.append(access)
        self._partial.pop(access.name, None)
        if not access.is_fcntl:
            for other in self._request(access):
                if other.state in (State.ASKED, State.WAITING):
                    self._partial[other.name] = other

    # From the grant to the release.

    def _on_hold(self, event: Event) -> None:
        if event.fields["access"] not in self._accesses:
            # A posix record from before the module was there, or from before this log.
            access = Access.of(event)
            access.adopted = True
            self._accesses[access.name] = access
            self._queues[access.resv].granted.append(access)
            access.pieces = []
        else:
            access = self._known(event, State.PENDING)
            before = self._complete_hold(access.resv, access.owner, access.ino)
            if access.is_fcntl and before:
                before.add(access)
                self._queues[access.resv].granted.remove(access)
                del self._accesses[access.name]
                return
        access.state = State.HELD

    def _complete_hold(self, resv: str, owner: str, ino: str) -> Access | None:
        for held in self._queues[resv].held_by(owner):
            if held.state is State.HELD and held.ino == ino:
                return held
        return None

    def _on_unlock(self, event: Event) -> None:
        fields = event.fields
        held = self._complete_hold(fields["resv"], fields["owner"], fields["ino"])
        if held is None:
            return
        held.remove(int(fields["start"]), int(fields["end"]))
        if not held.pieces and not held.adopted:
            self._broken(f"nothing is left of {held}")

    def _on_revoke(self, event: Event) -> None:
        access = self._known(event, State.HELD)
        if access.kind == "job" or access.revoked:
            self._broken(f"cannot be revoked: {access}")
        if int(event.fields["left_ns"]) > 0:
            self._broken(f"not due: {access}")
        asking = [
            other
            for other in self._accesses.values()
            if other.resv == access.resv and other.state in (State.ASKED, State.WAITING)
        ]
        if not access.adopted and not any(self._may_keep(access, other) for other in asking):
            self._broken(f"nobody wants {access}")
        access.revoked = True

    def _on_leave(self, event: Event) -> None:
        access = self._known(event, State.PENDING, State.HELD)
        job = self._jobs.get(access.owner)
        if job and not job.ended:
            self._broken(f"given back while the job runs: {access}")
        access.state = State.LEAVING

    def _on_release(self, event: Event) -> None:
        access = self._known(event, State.LEAVING)
        self._queues[access.resv].granted.remove(access)
        del self._accesses[access.name]
        if not self._request(access):
            self._jobs.pop(access.owner, None)

    # Jobs.

    def _on_job_publish(self, event: Event) -> None:
        owner = event.fields["owner"]
        accesses = [access for access in self._accesses.values() if access.owner == owner]
        if owner in self._jobs:
            self._broken("published twice")
        if not accesses or any(access.state is not State.PENDING for access in accesses):
            self._broken("published without a grant")
        job = Job()
        for access in accesses:
            for other in self._queues[access.resv].granted:
                if other.owner in self._jobs and other.conflicts(access):
                    job.after.append(self._jobs[other.owner])
        self._jobs[owner] = job

    def _on_job_start(self, event: Event) -> None:
        job = self._jobs.get(event.fields["owner"])
        if job is None or job.started:
            self._broken("started without being published, or twice")
        if not all(earlier.ended for earlier in job.after):
            self._broken("started before the end of a job that its fence comes after")
        job.started = True

    def _on_job_end(self, event: Event) -> None:
        job = self._jobs.get(event.fields["owner"])
        if job is None or not job.started or job.ended:
            self._broken("ended without having been started, or twice")
        job.ended = True


def main(paths: list[str]) -> int:
    """Check log files, all of them; return 1 when one breaks a rule."""
    status = 0
    for path in paths:
        with open(path) as log:
            try:
                print(path, dict(replay(parse(log))))
            except (Violation, ValueError) as error:
                print(f"{path}: {error}", file=sys.stderr)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
