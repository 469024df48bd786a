# SPDX-License-Identifier: MIT
"""The library on a kernel without our modules."""

import contextlib
import errno
import os
import select
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from buffers import EXPORTERS, allocate, available
from modules import load_all, unload, unload_framework
from other_process import Other

from dmabuf_sync import Access, Blitter, Display, DmaBuf, Exporter, Mapping, Sync


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> None:
    """There is no module to ask."""


@pytest.fixture(scope="module")
def without_modules() -> Iterator[None]:
    unload_framework()
    unload("vdmabuf")
    yield
    load_all()


@pytest.fixture(params=[name for name in EXPORTERS if name != "vdmabuf"])
def foreign(request: pytest.FixtureRequest, without_modules: None) -> Iterator[DmaBuf]:
    if not available(request.param):
        pytest.skip(f"this kernel has no {request.param}")
    with DmaBuf(allocate(request.param, 65536)) as buffer:
        yield buffer


def test_buffers(foreign: DmaBuf) -> None:
    info = foreign.info()
    assert info.size == foreign.size >= 65536
    assert info.inode == os.fstat(foreign.fileno()).st_ino
    assert info.exporter and info.references >= 1
    foreign.name = "a name"
    assert foreign.name == "a name"
    for access in (Access.READ, Access.WRITE):
        foreign.wait(access, timeout=1)
        with foreign.export_sync_file(access) as fence:
            fence.wait(1)
            foreign.import_sync_file(fence, access)
    assert select.select([foreign], [foreign], [], 0)[:2] == ([foreign], [foreign])
    view: Callable[[], Mapping] = foreign.map
    try:
        with view():
            pass
    except OSError as error:
        pytest.skip(f"{info.exporter} cannot be mapped here: {error}")
    with foreign.cpu_access(Access.WRITE), foreign.map() as m:
        m[:4] = b"abcd"
        assert bytes(m[:4]) == b"abcd"


def test_fcntl_locks_are_the_kernels_own(foreign: DmaBuf, spawn: Callable[..., Other]) -> None:
    other = spawn(foreign)
    with foreign.locked(Access.WRITE):
        assert other.run("buf.lock(READ, blocking=False)") == "BlockingIOError"
        conflict = foreign.test(Access.READ)
        assert conflict is None
    assert other.run("buf.lock(READ, offset=5, length=3, blocking=False)") == "ok"
    conflict = foreign.test(Access.WRITE)
    assert conflict is not None
    assert (conflict.pid, conflict.offset, conflict.length) == (other.actor.pid, 5, 3)
    for options in ({"timeout": 1}, {"hold": 1}):
        with pytest.raises(FileNotFoundError) as caught:
            foreign.lock(Access.READ, **options)
        assert "dmabuf_sync, which is not loaded" in caught.value.__notes__[0]


@pytest.mark.parametrize("make", [Sync, Exporter, Blitter, Display])
def test_what_needs_a_module_says_which(without_modules: None, make: Callable[[], Any]) -> None:
    with pytest.raises(FileNotFoundError) as caught, contextlib.closing(make()):
        pass
    assert caught.value.errno == errno.ENOENT
    assert "which is not loaded" in caught.value.__notes__[0]
