# SPDX-License-Identifier: MIT
"""Held: a lock for the length of a ``with`` or ``async with`` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

from .errors import LockRevoked

T = TypeVar("T")


class Held(Generic[T]):
    """What ``locked()`` returns. Use it once, in one ``with`` or ``async with`` statement.

    Leaving the block raises LockRevoked when the lock was revoked meanwhile: the work in the block
    was not protected to its end. When the block itself raised, that exception goes on, with a note.
    """

    def __init__(
        self,
        owner: T,
        take: Callable[[], None],
        take_async: Callable[[], Awaitable[None]],
        give_back: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._take = take
        self._take_async = take_async
        self._give_back = give_back

    def __enter__(self) -> T:
        self._take()
        return self._owner

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._give_back()
        except LockRevoked as revoked:
            if error is None:
                raise
            error.add_note(str(revoked))

    async def __aenter__(self) -> T:
        await self._take_async()
        return self._owner

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)
