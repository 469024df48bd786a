# SPDX-License-Identifier: MIT
"""The kernels the guest can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import debug_kernel, foreign, tree
from .architecture import NATIVE, Architecture
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
# Those of other architectures that have been tried.
FOREIGN = ("6.12", "7.2")
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
    sandbox of the tree's builder with `mounts` and, for Python extensions, `env`.
    """

    name: str
    base: Tree
    release: str
    image: Path
    headers: str
    mounts: Mapping[Path, str] = field(default_factory=dict)
    modules_in_base: bool = True
    architecture: Architecture = NATIVE
    env: Mapping[str, str] = field(default_factory=dict)


def get(name: str, architecture: Architecture = NATIVE) -> Kernel:
    """Return the kernel called `name`, made ready first if need be.

    Raises SetupError when there is no such kernel or it cannot be made.
    """
    if architecture != NATIVE:
        return get_foreign(name, architecture)
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


def get_foreign(name: str, architecture: Architecture) -> Kernel:
    """Return a kernel of another architecture; its name says which."""
    if name not in FOREIGN:
        names = " ".join(FOREIGN)
        raise SetupError(f"KERNEL={name} is none of {names}, which ARCH={architecture.name} has")
    base = foreign.get(RECIPES[name], architecture)
    release = base.release()
    return Kernel(
        f"{name}-{architecture.name}",
        base,
        release,
        foreign.image(base),
        f"/usr/src/linux-headers-{release}",
        foreign.mounts(base),
        architecture=architecture,
        env=foreign.environment(base, architecture),
    )
