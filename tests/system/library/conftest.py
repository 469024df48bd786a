# SPDX-License-Identifier: MIT
"""Buffers, processes and devices for the tests of the Python library."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from other_process import SIZE, Other

from dmabuf_sync import (
    Blitter,
    DmaBuf,
    Exporter,
)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with Exporter() as opened:
        yield opened


@pytest.fixture
def buf(exporter: Exporter) -> Iterator[DmaBuf]:
    with exporter.allocate(SIZE, name="test") as buffer:
        yield buffer


@pytest.fixture
def buf2(exporter: Exporter) -> Iterator[DmaBuf]:
    with exporter.allocate(SIZE, name="test 2") as buffer:
        yield buffer


@pytest.fixture
def spawn() -> Iterator[Callable[..., Other]]:
    with contextlib.ExitStack() as stack:

        def start(*buffers: DmaBuf) -> Other:
            process = Other(*buffers)
            stack.callback(process.actor.kill)
            return process

        yield start


@pytest.fixture
def other(buf: DmaBuf, spawn: Callable[..., Other]) -> Other:
    return spawn(buf)


@pytest.fixture
def blitter() -> Iterator[Blitter]:
    with Blitter() as opened:
        yield opened
