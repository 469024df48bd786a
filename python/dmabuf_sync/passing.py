# SPDX-License-Identifier: MIT
"""Passing buffers, sync objects, jobs and fences on to other processes.

Over a Unix socket with send_fds() and recv_fds(), or as arguments and messages of multiprocessing:
Process(args=(buffer,)), Connection.send(buffer), Queue.put(buffer). Whoever gets one owns a file
descriptor of its own for the same thing. fcntl locks are not passed on: the receiver is another
process, thus another owner. A Sync is: whoever has it may unlock it.

With multiprocessing, the sender must live until the message has been received, and what is given to
Process() or Queue.put(), which another thread sends, must not be closed before that.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Sequence
from multiprocessing import context, reduction
from typing import Any, TypeVar, overload

from ._handle import Handle
from ._system import FileLike, descriptor
from .dmabuf import DmaBuf
from .job import Job
from .sync import Sync
from .sync_file import SyncFile

T = TypeVar("T", bound=Handle)

MAX_MESSAGE = 65536


def send_fds(sock: socket.socket, files: Sequence[FileLike], message: bytes = b"\0") -> None:
    """Send `files`, 253 at most, over a Unix socket, with `message` (64 KiB, at least one byte).

    Yours stay open, and may be closed at once: what is under way keeps the buffer alive. Your fcntl
    locks stay yours (and closing drops them); a Sync is locked for both, or for neither. Waits for
    as long as sock.settimeout() allows while the socket is full. OSError: EPIPE nobody reads there
    any more; EINVAL too many; EMSGSIZE.
    """
    if not 0 < len(message) <= MAX_MESSAGE:
        raise ValueError(f"a message has 1 to {MAX_MESSAGE} bytes, not {len(message)}")
    sent = socket.send_fds(sock, [message], [descriptor(file) for file in files])
    if sent < len(message):  # a stream: the descriptors went with the first byte
        sock.sendall(message[sent:])


@overload
def recv_fds(sock: socket.socket, *, max_fds: int = 16) -> tuple[bytes, list[DmaBuf]]: ...


@overload
def recv_fds(
    sock: socket.socket, kind: Callable[[int], T], *, max_fds: int = 16
) -> tuple[bytes, list[T]]: ...


def recv_fds(
    sock: socket.socket, kind: Callable[[int], Any] = DmaBuf, *, max_fds: int = 16
) -> tuple[bytes, list[Any]]:
    """Receive what send_fds() has sent: the message and what `kind` makes of the descriptors.

    `kind` is DmaBuf, SyncFile, Job or Sync.from_fd. Waits for as long as sock.settimeout() allows.
    Use a SOCK_SEQPACKET socket: it keeps messages apart, which a stream does not.

    EOFError when the other side has closed. OSError: EMSGSIZE there were more than `max_fds`;
    ENOTTY one is no `kind`; then all are closed, so that none is left over. Closing a buffer that
    this process has under another descriptor, too, drops its fcntl locks on it.
    """
    fds = array.array("i")
    room = socket.CMSG_SPACE(max_fds * fds.itemsize)
    message, ancillary, flags, _ = sock.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind_of_data, data in ancillary:
        if (level, kind_of_data) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    with contextlib.ExitStack() as stack:
        for fd in fds:
            stack.callback(os.close, fd)
        if flags & socket.MSG_CTRUNC or len(fds) > max_fds:
            raise OSError(errno.EMSGSIZE, f"more than {max_fds} file descriptors came")
        if not message:
            raise EOFError("the other side has closed the socket")
        made: list[Any] = []
        stack.callback(_forget, made)
        for fd in fds:
            made.append(kind(fd))
        stack.pop_all()
    return message, made


def _forget(handles: list[Handle]) -> None:
    for handle in handles:
        handle._fd = -1  # closed as what it was before: a file descriptor


def _reduce(handle: Handle) -> tuple[Callable[..., Handle], tuple[Any, ...]]:
    """For multiprocessing: as an object to pickle, and back.

    multiprocessing's own way to send a descriptor later closes a duplicate of it in this process,
    and that would drop its fcntl locks on a dma-buf. So the dma-buf lies ready in a socket, and
    what is sent is the socket. A process that is being started gets the descriptor itself.
    """
    if context.get_spawning_popen() is not None:
        return _rebuild, (type(handle), reduction.DupFd(handle.fileno()))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send_fds(ours, [handle])
        return _rebuild_from_socket, (type(handle), reduction.DupFd(theirs.fileno()))


def _rebuild(kind: type[Handle], duplicate: Any) -> Handle:
    return _MAKE[kind](duplicate.detach())


def _rebuild_from_socket(kind: type[Handle], duplicate: Any) -> Handle:
    with socket.socket(fileno=duplicate.detach()) as sock:
        _, (handle,) = recv_fds(sock, _MAKE[kind], max_fds=1)
    return handle


_MAKE: dict[type[Handle], Callable[[int], Handle]] = {
    DmaBuf: DmaBuf,
    Job: Job,
    Sync: Sync.from_fd,
    SyncFile: SyncFile,
}

for _kind in _MAKE:
    reduction.ForkingPickler.register(_kind, _reduce)
