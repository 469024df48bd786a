# SPDX-License-Identifier: MIT
"""Every ioctl of the modules, with a file to ask and an argument that makes sense."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

from dmabuf_sync import Access, Blitter, Sync
from dmabuf_sync._uapi import ffi

FLAGS = os.O_RDWR | os.O_CLOEXEC
SIZE = 65536

Make = Callable[[int], tuple[int, Any]]
"""From a dma-buf: the file that is asked, and a sensible argument."""


def _argument(kind: str, **fields: Any) -> Any:
    made = ffi.new(f"struct {kind} *")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _device(name: str, kind: str, **fields: Any) -> Make:
    return lambda buf: (os.open(f"/dev/{name}", FLAGS), _argument(kind, **fields))


def _timed_lock(buf: int) -> tuple[int, Any]:
    # Not for ever, should it have to wait for another.
    fields = {"fd": buf, "access": 2, "length": 4096, "timeout_ns": 1}
    return os.open("/dev/dmabuf_sync", FLAGS), _argument("dmabuf_sync_timed_lock", **fields)


def _sync_file(buf: int, empty: bool) -> int:
    with Sync("bytes") as sync:
        if not empty:
            sync.add(buf, Access.WRITE)
        return os.dup(sync.fileno())


def _sync(kind: str, **fields: Any) -> Make:
    def make(buf: int) -> tuple[int, Any]:
        if "fd" in fields:
            fields["fd"] = buf
        return _sync_file(buf, kind == "dmabuf_sync_add"), _argument(kind, **fields)

    return make


def _job(kind: str) -> Make:
    def make(buf: int) -> tuple[int, Any]:
        with Blitter() as blitter, blitter.fill(buf, 0) as job:
            job.wait(30)
            return os.dup(job.fileno()), _argument(kind)

    return make


def _memfd(buf: int) -> tuple[int, Any]:
    memfd = os.memfd_create("bytes", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(memfd, SIZE)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    fields = {"memfd": memfd, "size": SIZE, "fd_flags": FLAGS}
    return os.open("/dev/vdmabuf", FLAGS), _argument("vdmabuf_from_memfd", **fields)


# What the address in a submit points to has to live as long as the test.
_op = ffi.new("struct vblit_op *")
_op.src_fd = -1
_op.dst.pitch, _op.dst.bytes_per_pixel, _op.dst.width, _op.dst.height = 64, 4, 16, 8


def _submit(buf: int) -> tuple[int, Any]:
    fields = {"ops": int(ffi.cast("uintptr_t", _op)), "num_ops": 1, "dst_fd": buf}
    return os.open("/dev/vblit", FLAGS), _argument("vblit_submit", **fields)


def _flip(buf: int) -> tuple[int, Any]:
    fields = {"fd": buf, "flags": 1, "length": 4096, "period_us": 1000}
    return os.open("/dev/vdisplay", FLAGS), _argument("vdisplay_flip", **fields)


CALLS: dict[str, Make] = {
    "DMABUF_SYNC_IOC_QUERY": _device("dmabuf_sync", "dmabuf_sync_query"),
    "DMABUF_SYNC_IOC_CREATE": _device("dmabuf_sync", "dmabuf_sync_create"),
    "DMABUF_SYNC_IOC_TIMED_LOCK": _timed_lock,
    "DMABUF_SYNC_IOC_ADD": _sync("dmabuf_sync_add", fd=0, access=1),
    "DMABUF_SYNC_IOC_REMOVE": _sync("dmabuf_sync_remove", fd=0),
    "DMABUF_SYNC_IOC_LOCK": _sync("dmabuf_sync_lock", timeout_ns=1),
    "DMABUF_SYNC_IOC_INFO": _sync("dmabuf_sync_info"),
    "DMABUF_SYNC_IOC_JOB_INFO": _job("dmabuf_sync_job_info"),
    "DMABUF_SYNC_IOC_JOB_SYNC_FILE": _job("dmabuf_sync_job_sync_file"),
    "VDMABUF_IOC_QUERY": _device("vdmabuf", "vdmabuf_query"),
    "VDMABUF_IOC_ALLOC": _device("vdmabuf", "vdmabuf_alloc", size=SIZE, fd_flags=FLAGS),
    "VDMABUF_IOC_FROM_MEMFD": _memfd,
    "VBLIT_IOC_QUERY": _device("vblit", "vblit_query"),
    "VBLIT_IOC_SUBMIT": _submit,
    "VDISPLAY_IOC_FLIP": _flip,
}
