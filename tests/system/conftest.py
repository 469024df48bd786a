# SPDX-License-Identifier: MIT
"""Fixtures of the system tests: real buffers in a real kernel with the modules loaded."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import sys
from collections.abc import Callable, Iterator

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from actors import Actor
from buffers import EXPORTERS, allocate, available
from driver import Driver, export, load, unload
from state import parameter, until_nothing_is_left


@pytest.fixture(scope="session", autouse=True)
def _in_the_guest() -> None:
    if not os.path.exists("/sys/module/dmabuf_sync"):
        pytest.exit("the system tests run in the test guest: make test", returncode=4)
    # Sync objects hold thousands of buffers; root may raise the hard limit.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 16, 1 << 16))


def pytest_collection_finish() -> None:
    """Spare the many collections of garbage, of actors too, what all the tests consist of."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """After every test nothing is held, nobody waits, and the counters add up."""
    yield
    until_nothing_is_left()


@pytest.fixture
def buf() -> Iterator[int]:
    """A 64 KiB dma-buf of our own exporter, as a file descriptor."""
    fd = allocate("vdmabuf", 65536)
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def bufs() -> Iterator[Callable[[int], list[int]]]:
    """bufs(n): n dma-bufs of 64 KiB."""
    made: list[int] = []

    def make(count: int) -> list[int]:
        for _ in range(count):
            made.append(allocate("vdmabuf", 65536))
        return made[-count:]

    yield make
    for fd in made:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture(params=EXPORTERS)
def anybuf(request: pytest.FixtureRequest) -> Iterator[int]:
    """A 64 KiB dma-buf of each exporter that this kernel has."""
    if not available(request.param):
        pytest.skip(f"this kernel has no {request.param}")
    fd = allocate(request.param, 65536)
    yield fd
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def actors() -> Iterator[Callable[[int], list[Actor]]]:
    """actors(n): n processes; make them after the buffers they are to know."""
    made: list[Actor] = []

    def make(count: int) -> list[Actor]:
        new = [Actor() for _ in range(count)]
        made.extend(new)
        return new

    yield make
    for actor in made:
        actor.kill()


@pytest.fixture(scope="module")
def _driver_module() -> Iterator[None]:
    """The module in tests/module; not for the whole session: it keeps dmabuf_sync loaded."""
    load()
    yield
    unload()


@pytest.fixture
def drivers(_driver_module: None) -> Iterator[Callable[..., Driver]]:
    """drivers(flags): a driver with a sync object, closed after the test."""
    with contextlib.ExitStack() as stack:

        def make(flags: int | None = 0) -> Driver:
            return stack.enter_context(Driver(flags))

        yield make


@pytest.fixture
def cached(_driver_module: None) -> Iterator[int]:
    """A dma-buf whose cache maintenance takes as long as a test says."""
    fd = export(3, caches=True)
    yield fd
    os.close(fd)


@pytest.fixture
def set_parameter() -> Iterator[Callable[[str, int], None]]:
    """set_parameter(name, value) of dmabuf_sync, until the test is over."""
    old: dict[str, int] = {}

    def change(name: str, value: int) -> None:
        was = parameter(name, value)
        old.setdefault(name, was)

    yield change
    for name, value in old.items():
        parameter(name, value)
