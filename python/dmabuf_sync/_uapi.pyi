# SPDX-License-Identifier: MIT
"""Stub of the extension that _build.py makes of _decl.h and _source.c.

Structures are cffi's and come as Any: their fields are the kernel headers'.
"""

from typing import Any

class _FFI:
    NULL: Any
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    def cast(self, cdecl: str, value: Any) -> Any: ...
    def gc(self, cdata: Any, destructor: Any, size: int = ...) -> Any: ...
    def buffer(self, cdata: Any, size: int = ...) -> Any: ...
    def string(self, cdata: Any, maxlen: int = ...) -> bytes: ...
    def sizeof(self, cdecl: Any) -> int: ...
    def offsetof(self, cdecl: str, *fields: str | int) -> int: ...
    def typeof(self, cdecl: str) -> Any: ...

class _Lib:
    DMABUF_SYNC_ABI_VERSION: int
    DMABUF_SYNC_NAME_LEN: int
    DMABUF_SYNC_READ: int
    DMABUF_SYNC_WRITE: int
    DMABUF_SYNC_DMA: int
    DMABUF_SYNC_NO_TIMEOUT: int
    DMABUF_SYNC_CAP_FCNTL: int
    DMABUF_SYNC_CAP_SETS: int
    DMABUF_SYNC_CAP_JOBS: int
    DMABUF_SYNC_CREATE_NO_CACHE: int
    DMABUF_SYNC_LOCK_NONBLOCK: int
    DMABUF_SYNC_LOCK_ASYNC: int
    DMABUF_SYNC_STATE_IDLE: int
    DMABUF_SYNC_STATE_WAITING: int
    DMABUF_SYNC_STATE_LOCKED: int
    DMABUF_SYNC_STATE_FAILED: int
    DMABUF_SYNC_JOB_QUEUED: int
    DMABUF_SYNC_JOB_GRANTED: int
    DMABUF_SYNC_JOB_RUNNING: int
    DMABUF_SYNC_JOB_DONE: int
    DMABUF_SYNC_IOC_MAGIC: int
    DMABUF_SYNC_IOC_QUERY: int
    DMABUF_SYNC_IOC_CREATE: int
    DMABUF_SYNC_IOC_TIMED_LOCK: int
    DMABUF_SYNC_IOC_ADD: int
    DMABUF_SYNC_IOC_REMOVE: int
    DMABUF_SYNC_IOC_LOCK: int
    DMABUF_SYNC_IOC_UNLOCK: int
    DMABUF_SYNC_IOC_INFO: int
    DMABUF_SYNC_IOC_JOB_INFO: int
    DMABUF_SYNC_IOC_JOB_SYNC_FILE: int
    VDMABUF_ABI_VERSION: int
    VDMABUF_NAME_LEN: int
    VDMABUF_CAP_COHERENT: int
    VDMABUF_CAP_STRICT: int
    VDMABUF_ALLOC_COHERENT: int
    VDMABUF_ALLOC_STRICT: int
    VDMABUF_ALLOC_FLAGS: int
    VDMABUF_IOC_MAGIC: int
    VDMABUF_IOC_QUERY: int
    VDMABUF_IOC_ALLOC: int
    VDMABUF_IOC_FROM_MEMFD: int
    VBLIT_ABI_VERSION: int
    VBLIT_MAX_OPS: int
    VBLIT_OP_FILL: int
    VBLIT_OP_COPY: int
    VBLIT_OP_BLIT: int
    VBLIT_CAP_SCALE: int
    VBLIT_CAP_BLEND: int
    VBLIT_OP_SCALE: int
    VBLIT_OP_BLEND: int
    VBLIT_MAX_IN_FENCES: int
    VBLIT_SUBMIT_NO_WAIT: int
    VBLIT_SUBMIT_NO_IMPLICIT: int
    VBLIT_IOC_MAGIC: int
    VBLIT_IOC_QUERY: int
    VBLIT_IOC_SUBMIT: int
    VDISPLAY_EVENTS: int
    VDISPLAY_MIN_PERIOD_US: int
    VDISPLAY_MAX_PERIOD_US: int
    VDISPLAY_FLIP_NONBLOCK: int
    VDISPLAY_EVENT_FLIP: int
    VDISPLAY_EVENT_FRAME: int
    VDISPLAY_EVENT_RELEASE: int
    VDISPLAY_IOC_MAGIC: int
    VDISPLAY_IOC_FLIP: int
    DMA_BUF_SYNC_READ: int
    DMA_BUF_SYNC_WRITE: int
    DMA_BUF_SYNC_START: int
    DMA_BUF_SYNC_END: int
    DMA_BUF_SYNC_VALID_FLAGS_MASK: int
    DMA_BUF_NAME_LEN: int
    DMA_BUF_IOCTL_SYNC: int
    DMA_BUF_SET_NAME_B: int
    DMA_BUF_IOCTL_EXPORT_SYNC_FILE: int
    DMA_BUF_IOCTL_IMPORT_SYNC_FILE: int
    SYNC_IOC_MERGE: int
    SYNC_IOC_FILE_INFO: int
    UDMABUF_FLAGS_CLOEXEC: int
    UDMABUF_CREATE: int
    DMA_HEAP_IOCTL_ALLOC: int
    F_GETLK: int
    F_SETLK: int
    F_SETLKW: int
    F_RDLCK: int
    F_WRLCK: int
    F_UNLCK: int
    PROT_READ: int
    PROT_WRITE: int

    # negative errno on failure
    def uapi_ioctl(self, fd: int, request: int, argument: Any, /) -> int: ...
    def uapi_fcntl_lock(self, fd: int, command: int, lock: Any, /) -> int: ...
    def uapi_pidfd_getfd(self, pidfd: int, fd: int, /) -> int: ...
    def uapi_mmap(self, address: Any, length: int, prot: int, fd: int, offset: int, /) -> int: ...
    def uapi_munmap(self, address: Any, length: int, /) -> int: ...
    def uapi_interrupt_signal(self) -> int: ...

ffi: _FFI
lib: _Lib
