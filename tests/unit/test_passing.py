# SPDX-License-Identifier: MIT
"""Passing handles on: over sockets and through multiprocessing. What is passed are pipes."""

import errno
import fcntl
import multiprocessing
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from dmabuf_sync import DmaBuf, Job, Sync, SyncFile, passing, recv_fds, send_fds
from dmabuf_sync._handle import Handle


class File(Handle):
    """Any file."""


passing._MAKE[File] = File
multiprocessing.reduction.ForkingPickler.register(File, passing._reduce)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def pipe() -> Iterator[tuple[Handle, Handle]]:
    read, write = os.pipe()
    with File(read) as reader, File(write) as writer:
        yield reader, writer


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def same(one: Handle, other: Handle) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def test_send_and_receive(
    pair: tuple[socket.socket, socket.socket], pipe: tuple[Handle, Handle]
) -> None:
    ours, theirs = pair
    send_fds(ours, pipe, b"frame 7")
    message, received = recv_fds(theirs, File)
    assert message == b"frame 7"
    for before, after in zip(pipe, received, strict=True):
        with after:
            assert isinstance(after, File)
            assert same(before, after)
            assert before.fileno() != after.fileno()
            assert fcntl.fcntl(after, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    send_fds(ours, [])
    assert recv_fds(theirs) == (b"\0", [])


def test_what_is_under_way_lives_on(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    read, write = os.pipe()
    with Handle(write) as writer:
        send_fds(ours, [writer])
    _, (received,) = recv_fds(theirs, Handle)
    with received, Handle(read):
        os.write(received.fileno(), b"x")
        assert os.read(read, 1) == b"x"


def test_nothing_is_left_of_what_cannot_be_taken(
    pair: tuple[socket.socket, socket.socket], pipe: tuple[Handle, Handle]
) -> None:
    ours, theirs = pair
    before = open_files()
    for kind in (DmaBuf, SyncFile, Job, Sync.from_fd):
        send_fds(ours, pipe)
        with pytest.raises(OSError, match="is not a") as caught:
            recv_fds(theirs, kind)
        assert caught.value.errno == errno.ENOTTY
    for limit in (0, 1):  # room for descriptors is a multiple of 8 bytes
        send_fds(ours, pipe)
        with pytest.raises(OSError, match="file descriptors came") as caught:
            recv_fds(theirs, File, max_fds=limit)
        assert caught.value.errno == errno.EMSGSIZE
    assert open_files() == before
    ours.close()
    with pytest.raises(EOFError):
        recv_fds(theirs)


def test_messages_have_a_size(pair: tuple[socket.socket, socket.socket]) -> None:
    for message in (b"", bytes(65537)):
        with pytest.raises(ValueError, match="1 to 65536 bytes"):
            send_fds(pair[0], [], message)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_fds(ours, [], bytes(65536))
        received = 0
        while received < 65536:
            received += len(recv_fds(theirs)[0])


def _echo(given: File, connection: Connection) -> None:
    connection.send((os.fstat(given.fileno()).st_ino, connection.recv()))
    connection.recv()  # multiprocessing hands descriptors over as long as the sender lives


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing(pipe: tuple[Handle, Handle], method: str) -> None:
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=_echo, args=(pipe[0], theirs))
    process.start()
    theirs.close()
    ours.send(pipe[1])
    inode, back = ours.recv()
    with back:
        assert isinstance(back, File)
        assert same(back, pipe[1])
        assert inode == os.fstat(pipe[0].fileno()).st_ino
    ours.send(None)
    process.join()
    assert process.exitcode == 0


def test_passing_drops_no_posix_lock() -> None:
    memfd = os.memfd_create("locked", os.MFD_CLOEXEC)
    ours, theirs = multiprocessing.Pipe()
    with File(memfd) as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        ours.send(file)
        child = os.fork()
        if child == 0:
            theirs.recv()
            # struct flock: type, whence, start, length, pid
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
            held = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
            os._exit(0 if held[4] == os.getppid() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ours.close()
    theirs.close()


def test_plain_pickle_says_what_to_use(pipe: tuple[Handle, Handle]) -> None:
    with pytest.raises(TypeError, match=r"multiprocessing .* send_fds\(\)"):
        pickle.dumps(pipe[0])
