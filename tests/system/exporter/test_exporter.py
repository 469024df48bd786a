# SPDX-License-Identifier: MIT
"""What /dev/vdmabuf makes of fresh pages, and what it refuses."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from exporter_calls import (
    LIBC,
    PAGE,
    RDWR,
    SIZE,
    alloc,
    closing,
    from_memfd,
    memfd_of,
    refused,
    request,
)

from dmabuf_sync._uapi import ffi, lib

MAX_SIZE = "/sys/module/vdmabuf/parameters/max_size_mb"


def query(device: int) -> Any:
    made = request("query")
    fcntl.ioctl(device, lib.VDMABUF_IOC_QUERY, ffi.buffer(made))
    return made


def raw_ioctl(fd: int, number: int, address: int) -> None:
    if LIBC.ioctl(fd, ctypes.c_ulong(number), ctypes.c_void_p(address)) < 0:
        raise OSError(ctypes.get_errno(), "ioctl")


def fdinfo(fd: int) -> dict[str, str]:
    with open(f"/proc/self/fdinfo/{fd}") as file:
        pairs = (line.rstrip("\n").split(":\t") for line in file if ":\t" in line)
        return {pair[0]: pair[1] for pair in pairs}


# --- query and parameters


def test_query(device: int) -> None:
    made = query(device)
    assert made.abi_version == lib.VDMABUF_ABI_VERSION
    capabilities = lib.VDMABUF_CAP_COHERENT | lib.VDMABUF_CAP_STRICT
    assert (made.capabilities, made.pad, made.page_size) == (capabilities, 0, PAGE)
    with open(MAX_SIZE) as file:
        assert made.max_size == int(file.read()) << 20


def test_query_pad(device: int) -> None:
    for bit in range(32):
        with refused(errno.EINVAL):
            fcntl.ioctl(device, lib.VDMABUF_IOC_QUERY, ffi.buffer(request("query", pad=1 << bit)))


@pytest.fixture
def max_size() -> Iterator[None]:
    with open(MAX_SIZE) as file:
        old = file.read()
    yield
    with open(MAX_SIZE, "w") as file:
        file.write(old)


@pytest.mark.usefixtures("max_size")
@pytest.mark.parametrize("value", ["0", "65537", "-1", "4294967297", "1x", "", "all"])
def test_parameter_out_of_bounds(device: int, value: str) -> None:
    old = query(device).max_size
    with refused(errno.EINVAL), closing(os.open(MAX_SIZE, os.O_WRONLY)) as fd:
        os.write(fd, value.encode() + b"\n")
    assert query(device).max_size == old


@pytest.mark.usefixtures("max_size")
def test_parameter_at_run_time(device: int) -> None:
    with open(MAX_SIZE, "w") as file:
        file.write("1")
    assert query(device).max_size == 1 << 20
    os.close(alloc(device, 1 << 20))
    with refused(errno.EMSGSIZE):
        alloc(device, (1 << 20) + PAGE)
    with closing(memfd_of(bytes((1 << 20) + PAGE), fcntl.F_SEAL_SHRINK)) as memfd:
        os.close(from_memfd(device, memfd, PAGE, 1 << 20))
        with refused(errno.EMSGSIZE):
            from_memfd(device, memfd, 0, (1 << 20) + PAGE)


@pytest.mark.parametrize("value", ["-1", "4294967296", "1x", ""])
def test_number_of_buffers_out_of_bounds(value: str) -> None:
    path = "/sys/module/vdmabuf/parameters/max_buffers"
    with open(path) as file:
        old = file.read()
    with refused(errno.EINVAL), closing(os.open(path, os.O_WRONLY)) as fd:
        os.write(fd, value.encode() + b"\n")
    with open(path) as file:
        assert file.read() == old


def test_number_of_buffers(device: int, memfd: int) -> None:
    path = "/sys/module/vdmabuf/parameters/max_buffers"
    with open(path) as file:
        old = file.read()
    try:
        with open(path, "w") as file:
            file.write("2")
        with closing(alloc(device)), closing(from_memfd(device, memfd)):
            with refused(errno.ENOSPC):
                alloc(device)
            with refused(errno.ENOSPC):
                from_memfd(device, memfd)
        os.close(alloc(device))
    finally:
        with open(path, "w") as file:
            file.write(old)


# --- bad input

MISALIGNED = [0, 1, PAGE - 1, PAGE + 1, SIZE + 512, 2**63 + 1, 2**64 - 1]
BAD_FD_FLAGS = [os.O_WRONLY, os.O_ACCMODE] + [
    1 << bit for bit in range(32) if not (1 << bit) & (os.O_ACCMODE | os.O_CLOEXEC)
]


@pytest.mark.parametrize("size", MISALIGNED)
def test_size_misaligned(device: int, memfd: int, size: int) -> None:
    with refused(errno.EINVAL):
        alloc(device, size)
    with refused(errno.EINVAL):
        from_memfd(device, memfd, 0, size)


def test_size_too_large(device: int, memfd: int) -> None:
    for size in (query(device).max_size + PAGE, 2**32, 2**40, 2**63, 2**64 - PAGE):
        with refused(errno.EMSGSIZE):
            alloc(device, size)
        with refused(errno.EMSGSIZE):
            from_memfd(device, memfd, 0, size)


def test_unknown_flags(device: int, memfd: int) -> None:
    known = lib.VDMABUF_ALLOC_COHERENT | lib.VDMABUF_ALLOC_STRICT
    for bit in range(32):
        if not known & 1 << bit:
            with refused(errno.EINVAL):
                alloc(device, flags=1 << bit)
        with refused(errno.EINVAL):
            alloc(device, pad=1 << bit)
        with refused(errno.EINVAL):
            from_memfd(device, memfd, flags=1 << bit)


@pytest.mark.parametrize("fd_flags", BAD_FD_FLAGS)
def test_fd_flags(device: int, memfd: int, fd_flags: int) -> None:
    with refused(errno.EINVAL):
        alloc(device, fd_flags=fd_flags)
    with refused(errno.EINVAL):
        from_memfd(device, memfd, fd_flags=fd_flags)


def test_name_without_an_end(device: int) -> None:
    with refused(errno.EINVAL):
        alloc(device, name=b"x" * lib.VDMABUF_NAME_LEN)


def test_unknown_number(device: int) -> None:
    known = (lib.VDMABUF_IOC_QUERY, lib.VDMABUF_IOC_ALLOC, lib.VDMABUF_IOC_FROM_MEMFD)
    others = [number ^ change for number in known for change in (1 << 16, 1 << 30, 1 << 31)]
    others += [known[0] & ~0xFF | nr for nr in (0, 1, *range(0x3F, 0x51), 0xFF)]
    for number in set(others) - set(known):
        with refused(errno.ENOTTY):
            fcntl.ioctl(device, number, bytearray(256))


NUMBERS = {name: getattr(lib, f"VDMABUF_IOC_{name.upper()}") for name in ("query", "alloc")}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("address", [0, 8, 2**47 - 8, 2**63, 2**64 - 8])
def test_bad_pointer(device: int, name: str, address: int) -> None:
    with refused(errno.EFAULT):
        raw_ioctl(device, NUMBERS[name], address)


@pytest.mark.parametrize("kind", ["query", "alloc", "from_memfd"])
def test_answer_cannot_be_written(device: int, memfd: int, kind: str) -> None:
    """The last thing that can fail: all has been made, and is undone."""
    fields: dict[str, Any] = {} if kind == "query" else {"size": SIZE, "fd_flags": RDWR}
    if kind == "from_memfd":
        fields["memfd"] = memfd
    made = request(kind, **fields)
    page = mmap.mmap(-1, PAGE)
    page[: ffi.sizeof(made[0])] = bytes(ffi.buffer(made))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    assert LIBC.mprotect(ctypes.c_void_p(address), PAGE, mmap.PROT_READ) == 0
    for _ in range(10):
        with refused(errno.EFAULT):
            raw_ioctl(device, getattr(lib, f"VDMABUF_IOC_{kind.upper()}"), address)


def test_no_file_descriptor_left(device: int, memfd: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (memfd + 16, hard))
    full = []
    try:
        with contextlib.suppress(OSError):
            while True:
                full.append(os.dup(memfd))
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            alloc(device)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            from_memfd(device, memfd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in full:
            os.close(fd)


# --- fresh pages


@pytest.mark.parametrize("size", [PAGE, 3 * PAGE, (5 << 20) + PAGE])
def test_size(device: int, size: int) -> None:
    with closing(alloc(device, size)) as fd:
        assert os.fstat(fd).st_size == size
        assert os.lseek(fd, 0, os.SEEK_END) == size
        with mmap.mmap(fd, size) as m:
            m[-1] = 1


def test_zeroed(device: int) -> None:
    """Also pages that have just been given back by another buffer."""
    for _ in range(5):
        with closing(alloc(device, 4 << 20)) as fd, mmap.mmap(fd, 4 << 20) as m:
            assert m[:] == bytes(len(m))
            m[:] = b"\xff" * len(m)


def test_access_mode_and_cloexec(device: int, memfd: int) -> None:
    for mode in (os.O_RDONLY, os.O_RDWR):
        for cloexec in (0, os.O_CLOEXEC):
            for fd in (
                alloc(device, fd_flags=mode | cloexec),
                from_memfd(device, memfd, fd_flags=mode | cloexec),
            ):
                with closing(fd):
                    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == mode
                    assert bool(fcntl.fcntl(fd, fcntl.F_GETFD)) == bool(cloexec)


@pytest.mark.parametrize("name", [b"", b"frame", b"x" * 31])
def test_name(device: int, name: bytes) -> None:
    with closing(alloc(device, name=name)) as fd:
        info = fdinfo(fd)
        assert (info["exp_name"], info["size"]) == ("vdmabuf", str(SIZE))
        assert info.get("name", "") == name.decode()
        with open("/sys/kernel/debug/dma_buf/bufinfo") as file:
            lines = [line.split() for line in file if "vdmabuf" in line]
        assert [line[-1] for line in lines] == [name.decode() or "<none>"]
        fcntl.ioctl(fd, lib.DMA_BUF_SET_NAME_B, b"other\0")
        assert fdinfo(fd)["name"] == "other"


def test_memory_cgroup(device: int) -> None:
    """The pages are the caller's: a full memory cgroup means ENOMEM and nobody is killed."""
    root = "/sys/fs/cgroup"
    with contextlib.suppress(OSError), open(f"{root}/cgroup.subtree_control", "w") as file:
        file.write("+memory")
    group = f"{root}/exporter"
    os.mkdir(group)
    try:
        if not os.path.exists(f"{group}/memory.max"):
            pytest.skip("no memory controller of cgroup v2 in this guest")
        with open(f"{group}/memory.max", "w") as file:
            file.write(str(32 << 20))
        child = os.fork()
        if child == 0:
            os._exit(_in_cgroup(group, device))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        os.rmdir(group)


def _join(group: str) -> None:
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")


def _contiguous() -> bool:
    """Is there memory set aside for DMA (CMA)? It is charged to nobody."""
    with open("/proc/meminfo") as file:
        return any(int(line.split()[1]) for line in file if line.startswith("CmaTotal:"))


def _in_cgroup(group: str, device: int) -> int:
    _join(group)
    for flags in (0,) if _contiguous() else (0, lib.VDMABUF_ALLOC_COHERENT):
        large = alloc(device, 64 << 20, flags=flags)
        try:
            mmap.mmap(large, 64 << 20)
            return 1
        except OSError as error:
            if error.errno != errno.ENOMEM:
                return 2
        os.close(large)
    fd = alloc(device, 16 << 20)
    # Whoever uses it first: it is charged to who made it.
    _join(os.path.dirname(group))
    with mmap.mmap(fd, 16 << 20), open(f"{group}/memory.current") as file:
        charged = int(file.read())
    os.close(fd)
    return 0 if charged >= 16 << 20 else 3
