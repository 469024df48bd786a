# SPDX-License-Identifier: MIT
"""Loading and unloading of the modules, and what the running kernel's memory says."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import re
import struct
import subprocess

from actors import until

from dmabuf_sync import close_control

_libc = ctypes.CDLL(None, use_errno=True)
_DELETE_MODULE = {"x86_64": 176, "aarch64": 106}[os.uname().machine]
_FINIT_MODULE = {"x86_64": 313, "aarch64": 273}[os.uname().machine]
# Modules that use dmabuf_sync by its symbols.
CLIENTS = ("vdisplay", "vblit")


def loaded(name: str) -> bool:
    return os.path.exists(f"/sys/module/{name}/initstate")


def rmmod(name: str) -> int:
    """Unload a module; errno, 0 for success.

    Without rmmod(8): among many who lock, moments in which nobody does are shorter than its start.
    """
    if _libc.syscall(_DELETE_MODULE, name.encode(), os.O_NONBLOCK):
        return ctypes.get_errno()
    return 0


def path(name: str) -> str:
    return os.path.join(os.environ["DMABUF_SYNC_MODULES"], name, f"{name}.ko")


def insmod(name: str) -> None:
    subprocess.run(["insmod", path(name)], check=True)


def finit_module(file: int) -> int:
    """Load the module in an open file, from this thread; errno, 0 for success."""
    return ctypes.get_errno() if _libc.syscall(_FINIT_MODULE, file, b"", 0) else 0


def unload(*names: str) -> None:
    gc.collect()  # what an earlier test left open
    for name in names:
        if loaded(name):
            until(lambda name=name: not rmmod(name), f"unloading {name}")


def unload_framework() -> None:
    """Unload dmabuf_sync, and what uses it."""
    close_control()
    unload(*CLIENTS, "dmabuf_sync")


def load_all() -> None:
    for name in ("dmabuf_sync", "vdmabuf", *CLIENTS):
        if not loaded(name):
            insmod(name)


@functools.cache
def symbol(name: str) -> int | None:
    """Address of a symbol of the kernel proper, where they stay as they are."""
    with open("/proc/kallsyms") as file:
        found = re.search(rf"^([0-9a-f]+) \w {re.escape(name)}$", file.read(), re.MULTILINE)
    return int(found[1], 16) or None if found else None


def kernel_memory(address: int, length: int) -> bytes:
    """Bytes of the running kernel, from the ELF image that /proc/kcore shows."""
    with open("/proc/kcore", "rb", buffering=0) as core:
        header = core.read(64)
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        core.seek(offset)
        table = core.read(size * count)
        for index in range(count):
            # Elf64_Phdr: type, flags, offset, vaddr, paddr, filesz, memsz, align
            kind, _, at, start, _, length_there = struct.unpack_from("<IIQQQQ", table, index * size)
            if kind == 1 and start <= address and address + length <= start + length_there:
                core.seek(at + address - start)
                return core.read(length)
    raise LookupError(f"/proc/kcore does not have {address:#x}")
