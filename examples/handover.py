# SPDX-License-Identifier: MIT
# A producer passes each frame on while it still writes it: the consumer's lock waits for the
# producer's. What goes through the socket is the file descriptor, not the data.
"""Passing buffers from process to process."""

import socket
import time
from multiprocessing import Process

from dmabuf_sync import Access, Exporter, recv_fds, send_fds


def consume(sock: socket.socket) -> None:
    """Read frames until there are no more."""
    while True:
        try:
            message, (frame,) = recv_fds(sock)
        except EOFError:
            return
        with frame:
            asked = time.monotonic()
            with frame.mapped(Access.READ, timeout=10) as memory:
                waited = time.monotonic() - asked
                whole = len(set(memory)) == 1
                text = f"{message.decode()}: waited {1e3 * waited:.0f} ms, whole: {whole}"
            print(f"consumer: {text}", flush=True)


def main() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, Exporter() as exporter:
        consumer = Process(target=consume, args=(theirs,))
        with theirs:
            consumer.start()
        for number in range(1, 4):
            with exporter.allocate(1 << 16, f"frame {number}") as frame:
                with frame.mapped(Access.WRITE) as memory:
                    memory[: 1 << 15] = bytes([number]) * (1 << 15)
                    send_fds(ours, [frame], frame.name.encode())
                    time.sleep(0.1)
                    memory[1 << 15 :] = bytes([number]) * (1 << 15)
                print(f"producer: {frame.name} is complete", flush=True)
        ours.shutdown(socket.SHUT_RDWR)
        consumer.join()


if __name__ == "__main__":
    main()
