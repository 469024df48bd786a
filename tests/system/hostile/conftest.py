# SPDX-License-Identifier: MIT
"""Fixtures of the tests in which allocations fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import injector
import pytest
from exhaustion import BUFFERS
from state import parameter


@pytest.fixture(scope="module")
def every_allocation_counts() -> Iterator[None]:
    if not injector.available():
        pytest.skip("this kernel has no fault injection")
    # What a case holds all the time must not become due.
    old = parameter("hold_timeout_ms", 60_000)
    with injector.settings():
        yield
    parameter("hold_timeout_ms", old)


@pytest.fixture
def inject(every_allocation_counts: None) -> Iterator[injector.Injector]:
    made = injector.Injector()
    yield made
    made.close()


@pytest.fixture
def fds(bufs: Callable[[int], list[int]]) -> list[int]:
    return bufs(BUFFERS)
