# SPDX-License-Identifier: MIT
"""The architectures a guest can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .report import SetupError


@dataclass(frozen=True)
class Architecture:
    """One of them.

    `name` is Debian's for it, `machine` what uname -m says, `triplet` GNU's; `emulator` has QEMU's
    program and the package that brings it, `options` what to tell it besides, and
    `kernel_options` what to tell the kernel.
    """

    name: str
    machine: str
    triplet: str
    emulator: Mapping[str, str]
    options: Sequence[str] = ()
    kernel_options: Sequence[str] = ()


NATIVE = Architecture(
    "amd64",
    "x86_64",
    "x86_64-linux-gnu",
    {"qemu-system-x86_64": "qemu-system-x86"},
    # With five levels of page tables an interrupt at the moment when the kernel asks for the
    # features of the first CPU makes KASAN take any address for a wild one, and say no more.
    kernel_options=("no5lvl",),
)
"""That of this machine."""
ARM64 = Architecture(
    "arm64",
    "aarch64",
    "aarch64-linux-gnu",
    {"qemu-system-aarch64": "qemu-system-arm"},
    # There is no memory at the addresses that edu can be sure of; behind an IOMMU there is.
    ("-machine", "iommu=smmuv3"),
    # Room for swiotlb=force, where arm64 has 2 MiB. This is rounded up to 64 MiB, what others have;
    # to name that itself counts as to name nothing.
    ("swiotlb=32640",),
)
ALL = (NATIVE, ARM64)


def named(name: str) -> Architecture:
    """Return the architecture that Debian or uname calls `name`; raises SetupError for no such."""
    for architecture in ALL:
        if name in (architecture.name, architecture.machine):
            return architecture
    raise SetupError(f"ARCH={name} is none of {' '.join(known.name for known in ALL)}")
