# SPDX-License-Identifier: MIT
"""Access: what a lock, a fence or a mapping is for."""

from __future__ import annotations

import enum

from ._uapi import lib


class Access(enum.Flag):
    """How a buffer is used. Readers share; a writer is alone.

    WRITE is meant to include reading, so READ | WRITE asks for nothing more than WRITE.
    """

    READ = lib.DMABUF_SYNC_READ
    WRITE = lib.DMABUF_SYNC_WRITE
    DMA = lib.DMABUF_SYNC_DMA
    """The access is a device's, not the CPU's: no cache maintenance. For :class:`Sync` only."""


def cpu_access(access: Access) -> Access:
    """`access` as the one of READ and WRITE that it comes to, for calls that know no DMA."""
    if not isinstance(access, Access):
        raise TypeError(f"access must be Access.READ or Access.WRITE, not {access!r}")
    if access & Access.DMA or not access:
        raise ValueError(f"access must be Access.READ or Access.WRITE here, not {access!r}")
    return Access.WRITE if access & Access.WRITE else Access.READ


def sync_flags(access: Access) -> int:
    """`access` as the DMA_BUF_SYNC_* flags of linux/dma-buf.h."""
    cpu_access(access)
    flags = 0
    if access & Access.READ:
        flags |= lib.DMA_BUF_SYNC_READ
    if access & Access.WRITE:
        flags |= lib.DMA_BUF_SYNC_WRITE
    return flags
