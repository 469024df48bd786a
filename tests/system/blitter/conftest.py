# SPDX-License-Identifier: MIT
"""Fixtures of the DMA engine's tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from blits import BOUNCING, COHERENT, PARAMETERS, SIZE
from buffers import EXPORTERS, allocate, available

from dmabuf_sync import Blitter, DmaBuf


@pytest.fixture
def blitter() -> Iterator[Blitter]:
    with Blitter() as made:
        yield made


@pytest.fixture
def make() -> Iterator[Callable[[int], list[DmaBuf]]]:
    """make(n): n buffers of our own exporter."""
    with contextlib.ExitStack() as stack:
        yield lambda count: [
            stack.enter_context(DmaBuf(allocate("vdmabuf", SIZE))) for _ in range(count)
        ]


@pytest.fixture
def dst(make: Callable[[int], list[DmaBuf]]) -> DmaBuf:
    """A buffer of our own exporter."""
    return make(1)[0]


@pytest.fixture(params=EXPORTERS)
def exporter(request: pytest.FixtureRequest) -> str:
    """Each exporter that this kernel has and that can be right in this guest."""
    name: str = request.param
    if not available(name):
        pytest.skip(f"this kernel has no {name}")
    if BOUNCING and name not in COHERENT:
        pytest.skip(f"{name} does not keep bounce buffers in step")
    return name


@pytest.fixture
def pair(exporter: str) -> Iterator[tuple[DmaBuf, DmaBuf]]:
    """A buffer of some exporter and one of ours."""
    with DmaBuf(allocate(exporter, SIZE)) as theirs, DmaBuf(allocate("vdmabuf", SIZE)) as ours:
        yield theirs, ours


@pytest.fixture
def set_vblit() -> Iterator[Callable[[str, int], None]]:
    """set_vblit(parameter, value), until the test is over."""
    names = set()

    def change(name: str, value: int) -> None:
        names.add(name)
        with open(f"{PARAMETERS}/{name}", "w") as file:
            file.write(str(value))

    yield change
    for name in names:
        change(name, 0)
