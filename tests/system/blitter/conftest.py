# SPDX-License-Identifier: MIT
"""Fixtures of the DMA engine's tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from blits import EDU, PARAMETERS, SOFT, Device
from buffers import BOUNCING, COHERENT, EXPORTERS, allocate, available

from dmabuf_sync import Blitter, DmaBuf

DEVICES = [SOFT, pytest.param(EDU, marks=pytest.mark.slow)]


@pytest.fixture(params=DEVICES, ids=lambda each: each.name)
def device(request: pytest.FixtureRequest, set_parameter: Callable[[str, int], None]) -> Device:
    """Each of the two back-ends."""
    made: Device = request.param
    if not os.path.exists(made.path):
        pytest.skip(f"this guest has no {made.name}")
    if made is EDU:
        set_parameter("job_timeout_ms", 60_000)
    return made


@pytest.fixture
def blitter(device: Device) -> Iterator[Blitter]:
    with Blitter(device.path) as made:
        yield made


@pytest.fixture
def bufs(device: Device) -> Iterator[Callable[[int], list[int]]]:
    """bufs(n): n dma-bufs of the size that suits the device."""
    made: list[int] = []

    def make(count: int) -> list[int]:
        made.extend(allocate("vdmabuf", device.size) for _ in range(count))
        return made[-count:]

    yield make
    for fd in made:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def buf(bufs: Callable[[int], list[int]]) -> int:
    """One of them."""
    return bufs(1)[0]


@pytest.fixture
def make(device: Device) -> Iterator[Callable[[int], list[DmaBuf]]]:
    """make(n): n buffers of our own exporter, as objects of the library."""
    with contextlib.ExitStack() as stack:
        yield lambda count: [
            stack.enter_context(DmaBuf(allocate("vdmabuf", device.size))) for _ in range(count)
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
def pair(device: Device, exporter: str) -> Iterator[tuple[DmaBuf, DmaBuf]]:
    """A buffer of some exporter and one of ours."""
    size = device.size
    with DmaBuf(allocate(exporter, size)) as theirs, DmaBuf(allocate("vdmabuf", size)) as ours:
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
