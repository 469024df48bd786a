# SPDX-License-Identifier: MIT
"""Fixtures of the exporter's tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest
from actors import until
from exporter_calls import RDWR, closing, memfd_of, page_numbers, state
from importer import Vgem

from dmabuf_sync import close_control


@pytest.fixture(scope="module")
def device() -> Iterator[int]:
    """/dev/vdmabuf."""
    with closing(os.open("/dev/vdmabuf", RDWR)) as fd:
        yield fd


@pytest.fixture
def memfd() -> Iterator[int]:
    """A memfd of 16 numbered pages, sealed as it has to be."""
    with closing(memfd_of(page_numbers(16), fcntl.F_SEAL_SHRINK)) as fd:
        yield fd


@pytest.fixture(autouse=True)
def _nothing_left(device: int) -> Iterator[None]:
    """No test leaves a buffer or a file descriptor; the engine lets go a moment after its job."""
    close_control()
    files, there = state()
    yield
    close_control()

    def nothing_left() -> bool:
        files_now, there_now = state()
        fewer = all(now <= then for now, then in zip(there_now, there, strict=True))
        return fewer and files_now <= files

    until(nothing_left, "freeing all buffers")


@pytest.fixture
def vgem() -> Iterator[Vgem]:
    card = Vgem()
    yield card
    os.close(card.fd)
