# SPDX-License-Identifier: MIT
"""Handles, their file descriptors, and what they say about things that are not there."""

import copy
import errno
import os
import pickle
import select
from collections.abc import Callable

import pytest

import dmabuf_sync
from dmabuf_sync import Blitter, Control, DmaBuf, Exporter, Heap, Job, Sync, SyncFile, Udmabuf
from dmabuf_sync._handle import Handle, poll
from dmabuf_sync._system import NO_TIMEOUT, deadline_ns


def null() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def test_close_is_idempotent() -> None:
    fd = null()
    with Handle(fd) as handle:
        assert handle.fileno() == fd
        assert not handle.closed
        assert repr(handle) == f"<Handle fd={fd}>"
    assert handle.closed
    handle.close()
    assert repr(handle) == "<Handle closed>"
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    with pytest.raises(ValueError, match="this Handle is closed"):
        handle.fileno()
    with pytest.raises(ValueError, match="closed"), handle:
        pass


def test_a_forgotten_handle_is_closed_with_a_warning() -> None:
    fd = null()
    handle = Handle(fd)
    assert handle
    with pytest.warns(ResourceWarning, match="unclosed <Handle"):
        del handle
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)


def test_a_handle_has_no_copies() -> None:
    with Handle(null()) as handle:
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                duplicate(handle)


def test_poll() -> None:
    read, write = os.pipe()
    with Handle(read), Handle(write):
        assert poll(read, select.POLLIN, 0) == 0
        assert poll(read, select.POLLIN, deadline_ns(0.02)) == 0
        os.write(write, b"x")
        assert poll(read, select.POLLIN, NO_TIMEOUT) == select.POLLIN


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (DmaBuf, "a dma-buf"),
        (SyncFile, "a sync_file"),
        (Job, "a job"),
        (Sync.from_fd, "a sync object"),
    ],
)
def test_other_files_are_refused_and_left_open(kind: Callable[[int], Handle], what: str) -> None:
    memfd = os.memfd_create("something-else", os.MFD_CLOEXEC)
    with pytest.raises(OSError, match=f"fd {memfd} is not {what}") as caught:
        kind(memfd)
    assert caught.value.errno == errno.ENOTTY
    os.close(memfd)
    with pytest.raises(OSError, match="Bad file") as caught:
        kind(memfd)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(ValueError, match="cannot be a file descriptor"):
        kind(-1)


@pytest.mark.parametrize("kind", [Blitter, Control, Exporter, Udmabuf])
def test_missing_device(kind: type[Handle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "PATH", "/dev/there-is-no-such-device")
    with pytest.raises(FileNotFoundError) as caught:
        kind()  # type: ignore[call-arg]
    assert caught.value.filename == "/dev/there-is-no-such-device"
    assert "not loaded" in caught.value.__notes__[0]


def test_heaps() -> None:
    assert isinstance(dmabuf_sync.heaps(), tuple)
    with pytest.raises(FileNotFoundError):
        Heap("there-is-no-such-heap")
    for name in ("", "..", "../null"):
        with pytest.raises(ValueError, match="cannot be the name"):
            Heap(name)


def test_everything_named_is_there() -> None:
    for name in dmabuf_sync.__all__:
        assert getattr(dmabuf_sync, name)
