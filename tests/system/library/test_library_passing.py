# SPDX-License-Identifier: MIT
"""The library: passing buffers, sync objects, jobs and fences to other processes."""

import errno
import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest
from other_process import Other

from dmabuf_sync import (
    Access,
    Blitter,
    DmaBuf,
    Job,
    Sync,
    SyncFile,
    SyncState,
    recv_fds,
    send_fds,
)


def test_over_a_socket(buf: DmaBuf, buf2: DmaBuf, blitter: Blitter) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, blitter.copy(buf, buf2) as job, job.sync_file() as fence:
        send_fds(ours, [buf, buf2], b"frames")
        send_fds(ours, [job])
        send_fds(ours, [fence])
        child = os.fork()
        if child == 0:
            message, (one, two) = recv_fds(theirs)
            _, (its_job,) = recv_fds(theirs, Job)
            _, (its_fence,) = recv_fds(theirs, SyncFile)
            its_job.wait(20)
            its_fence.wait(20)
            with two.mapped(Access.WRITE, timeout=20) as m:
                m[:6] = message
            os._exit(0 if one.name == "test" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with buf2.mapped(Access.READ, timeout=20) as m:
        assert bytes(m[:6]) == b"frames"


def test_a_sync_object_is_one_owner_everywhere(buf: DmaBuf, other: Other) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, Sync("here") as sync:
        sync.add(buf, Access.WRITE)
        sync.lock()
        send_fds(ours, [sync])
        _, (again,) = recv_fds(theirs, lambda fd: Sync.from_fd(fd, "there"))
        with again:
            assert again.info().state is SyncState.LOCKED
            assert other.run("buf.lock(READ, blocking=False)") == "BlockingIOError"
            again.unlock()
        assert sync.info().state is SyncState.IDLE
        assert other.run("buf.lock(READ, blocking=False)") == "ok"
    with pytest.raises(OSError, match="not a sync object") as caught:
        Sync.from_fd(buf.fileno())
    assert caught.value.errno in (errno.ENOTTY, errno.EINVAL)
    assert buf.size, "it was closed"


def _work(buffer: DmaBuf, sync: Sync, connection: Connection) -> None:
    """In the other process: says what it may lock, and is sent more."""
    try:
        buffer.lock(Access.READ, blocking=False)
    except BlockingIOError:
        connection.send("locked")
    sync.unlock()
    more: DmaBuf = connection.recv()
    try:
        more.lock(Access.READ, blocking=False)
    except BlockingIOError:
        connection.send(more.name)
    connection.recv()


@pytest.mark.slow
def test_multiprocessing(buf: DmaBuf, buf2: DmaBuf, spawn: Callable[..., Other]) -> None:
    other = spawn(buf, buf2)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with Sync("passed on") as sync:
        sync.add(buf, Access.WRITE)
        sync.lock(hold=60)
        process = context.Process(target=_work, args=(buf, sync, theirs))
        process.start()
        assert ours.poll(50)
        assert ours.recv() == "locked"
        with buf2.locked(Access.WRITE, hold=60):
            ours.send(buf2)
            assert ours.poll(50)
            assert ours.recv() == "test 2"
            # The lock is still there, although the descriptor was sent.
            assert other.run("buffers[1].lock(READ, blocking=False)") == "BlockingIOError"
        ours.send(None)
        process.join(50)
        assert process.exitcode == 0
        assert sync.info().state is SyncState.IDLE
