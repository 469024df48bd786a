# SPDX-License-Identifier: MIT
# Two processes lock a dma-buf with nothing but Python's standard library: once the module
# dmabuf_sync is loaded, fcntl.lockf() on any dma-buf keeps out other processes and DMA alike.
"""Plain fcntl(2) on a dma-buf, without the library."""

import fcntl
import os
import struct
import time

VDMABUF_IOC_ALLOC = 0xC038A841  # linux/vdmabuf.h


def allocate(size: int) -> int:
    """A dma-buf; one from a camera, a GPU or a dma-heap would do as well."""
    # size, flags, fd_flags, name, fd (out), pad
    request = bytearray(struct.pack("QII32siI", size, 0, os.O_RDWR | os.O_CLOEXEC, b"", -1, 0))
    with open("/dev/vdmabuf", "rb", buffering=0) as device:
        fcntl.ioctl(device, VDMABUF_IOC_ALLOC, request)
    return int(struct.unpack("QII32siI", request)[4])


def child(fd: int) -> None:
    """Another process: finds the buffer locked, and waits for it."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("child: somebody writes, I wait", flush=True)
    fcntl.lockf(fd, fcntl.LOCK_SH)
    print("child: I read", flush=True)
    # The end of the process unlocks.


def main() -> None:
    fd = allocate(1 << 20)
    fcntl.lockf(fd, fcntl.LOCK_EX)
    print("parent: I write", flush=True)
    pid = os.fork()
    if pid == 0:
        child(fd)
        os._exit(0)
    time.sleep(0.5)
    print("parent: done", flush=True)
    # Closing any file descriptor of the buffer unlocks, too: mind mmap.mmap(), which closes one.
    fcntl.lockf(fd, fcntl.LOCK_UN)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
