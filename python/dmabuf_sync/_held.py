# SPDX-License-Identifier: MIT
"""Held: a lock for the length of a ``with`` or ``async with`` block."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, TypeVar

from .errors import LockRevoked

T = TypeVar("T")
S = TypeVar("S")


class Held(Generic[T]):
    """What ``locked()`` returns. Use it once, in one ``with`` or ``async with`` statement.

    Leaving the block raises LockRevoked when the lock was revoked meanwhile: the work in the block
    was not protected to its end. When the block itself raised, that exception goes on, with a note.
    """

    def __init__(
        self,
        inside: AbstractContextManager[T],
        take: Callable[[], None],
        take_async: Callable[[], Awaitable[None]],
        give_back: Callable[[], None],
    ) -> None:
        """`inside` is entered with the lock held, and left before it is given back."""
        self._inside = inside
        self._take = take
        self._take_async = take_async
        self._give_back = give_back

    def __enter__(self) -> T:
        self._take()
        return self._begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside.__exit__(kind, error, traceback)
        try:
            self._give_back()
        except LockRevoked as revoked:
            if error is None:
                raise
            error.add_note(str(revoked))

    async def __aenter__(self) -> T:
        await self._take_async()
        return self._begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _begin(self) -> T:
        try:
            return self._inside.__enter__()
        except BaseException:
            self._give_back()
            raise
