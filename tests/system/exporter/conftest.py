# SPDX-License-Identifier: MIT
"""Fixtures of the exporter's tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator

import pytest
from actors import until
from dma_device import DmaDevice
from exporter_calls import RDWR, alloc, closing, memfd_of, page_numbers, state
from importer import Vgem

from dmabuf_sync import Blitter, DmaBuf, close_control


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
def buffer(device: int) -> Iterator[DmaBuf]:
    """A dma-buf of fresh pages."""
    with DmaBuf(alloc(device)) as made:
        yield made


@pytest.fixture
def blitter() -> Iterator[Blitter]:
    with Blitter() as engine:
        yield engine


@pytest.fixture
def vgem() -> Iterator[Vgem]:
    card = Vgem()
    yield card
    os.close(card.fd)


@pytest.fixture(scope="module")
def _importer_module() -> Iterator[None]:
    folder = os.path.join(os.environ["DMABUF_SYNC_MODULES"], "dsync_importer")
    subprocess.run(["insmod", os.path.join(folder, "dsync_importer.ko")], check=True)
    yield
    subprocess.run(["rmmod", "dsync_importer"], check=True)


@pytest.fixture
def devices(_importer_module: None) -> Iterator[Callable[..., DmaDevice]]:
    """devices(mask, segment, boundary): a device, closed after the test."""
    made: list[DmaDevice] = []

    def make(*limits: int, **more: int) -> DmaDevice:
        made.append(DmaDevice(*limits, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
