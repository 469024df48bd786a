# SPDX-License-Identifier: MIT
"""The fixtures that run dmabuf-sync."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from running import Command, Outcome


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """start("top", user=0): a command that runs until the test ends, or it does."""
    with contextlib.ExitStack() as stack:

        def make(*arguments: str, user: int = 0) -> Command:
            command = Command(*arguments, user=user)
            stack.callback(command.kill)
            return command

        yield make


@pytest.fixture
def run(start: Callable[..., Command]) -> Callable[..., Outcome]:
    """run("status", "--json", user=0): the whole life of a command."""

    def whole(*arguments: str, user: int = 0) -> Outcome:
        return start(*arguments, user=user).outcome()

    return whole


@pytest.fixture
def no_haste(set_parameter: Callable[[str, int], None]) -> None:
    """Nothing is revoked only because a command takes its time."""
    set_parameter("hold_timeout_ms", 60000)
