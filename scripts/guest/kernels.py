# SPDX-License-Identifier: MIT
"""The kernels the guest can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import debug_kernel, tree
from .report import SetupError
from .tree import GUEST_PACKAGES, Recipe, Tree

DEFAULT = "6.12"
STOCK = ("6.1", "6.12", "7.2")
DEBUG = debug_kernel.KINDS
STOCK_KERNEL = ("linux-headers-amd64", "linux-image-amd64")
# Stock as well, with locks that sleep where they spin elsewhere.
REALTIME = "rt"
REALTIME_KERNEL = ("linux-headers-rt-amd64", "linux-image-rt-amd64")
BACKPORTS = "trixie-backports"
RECIPES = {
    "6.1": Recipe("6.1", "bookworm", (*GUEST_PACKAGES, *STOCK_KERNEL)),
    "6.12": Recipe("6.12", "trixie", (*GUEST_PACKAGES, *STOCK_KERNEL)),
    "7.2": Recipe(
        "7.2",
        "trixie",
        (*GUEST_PACKAGES, *(f"{package}/{BACKPORTS}" for package in STOCK_KERNEL)),
        extra_suites=(BACKPORTS,),
    ),
    REALTIME: Recipe(REALTIME, "trixie", (*GUEST_PACKAGES, *REALTIME_KERNEL)),
}


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready to boot.

    `name` is what the user calls it, `base` the tree that is its root file system, `image` the
    host's path of what QEMU loads. `headers` is the folder to build modules in as seen in a
    sandbox of the tree with `mounts`.
    """

    name: str
    base: Tree
    release: str
    image: Path
    headers: str
    mounts: Mapping[Path, str] = field(default_factory=dict)
    modules_in_base: bool = True


def get(name: str) -> Kernel:
    """Return the kernel called `name`, made ready first if need be.

    Raises SetupError when there is no such kernel or it cannot be made.
    """
    if name in RECIPES:
        base = tree.get(RECIPES[name])
        release = base.release()
        image = base.root / "boot" / f"vmlinuz-{release}"
        return Kernel(name, base, release, image, f"/usr/lib/modules/{release}/build")
    if name in DEBUG:
        base = tree.get(RECIPES[DEFAULT])
        made = debug_kernel.get(name)
        return Kernel(
            name,
            base,
            made.release,
            made.image,
            debug_kernel.BUILD_INSIDE,
            made.mounts,
            modules_in_base=False,
        )
    raise SetupError(f"KERNEL={name} is none of {' '.join((*RECIPES, *DEBUG))}")
