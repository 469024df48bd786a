# SPDX-License-Identifier: MIT
"""Sets that nothing keeps back any more: somebody has to grant them soon.

A single access is granted under the lock of its queue by whoever made it possible, before anything
else happens there. Who makes a set possible lets that lock go first, and others may come between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .accesses import Access, Queue, State
from .events import Event

# Within how many events a set is granted: those who grant may have to wait for a processor.
SOON = 5000


class RipeSets:
    """Since when each waiting set has been first on all its buffers, with none of them held."""

    def __init__(self, queues: Mapping[str, Queue[Access]]) -> None:
        self._queues = queues
        self._since: dict[str, int] = {}
        self._events = 0

    def look(self, event: Event, accesses: Iterable[Access]) -> Access | None:
        """Look at the queue an event has changed; return an access of a forgotten set."""
        self._events += 1
        resv = event.fields.get("resv")
        if resv is not None:
            touched = {access.owner for access in self._queues[resv].waiting[:1]}
            touched |= self._since.keys()
            for owner in touched:
                self._note(owner, accesses)
        for owner, since in self._since.items():
            if self._events - since > SOON:
                return next(access for access in accesses if access.owner == owner)
        return None

    def _note(self, owner: str, accesses: Iterable[Access]) -> None:
        request = [access for access in accesses if access.owner == owner]
        if self._is_ripe(request):
            self._since.setdefault(owner, self._events)
        else:
            self._since.pop(owner, None)

    def _is_ripe(self, request: list[Access]) -> bool:
        if len(request) < 2 or request[0].is_fcntl:
            return False
        for access in request:
            if access.state is not State.WAITING:
                return False
            queue = self._queues[access.resv]
            # A set may have two dma-bufs of one reservation object.
            if queue.granted or queue.waiting[0].owner != access.owner:
                return False
        return True
