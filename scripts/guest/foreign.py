# SPDX-License-Identifier: MIT
"""Trees of another architecture, whose programs this machine cannot run.

Their packages are unpacked and not configured: what a guest needs of that is done here. Beside such
a tree is its builder, a tree of this machine's architecture with a compiler for the other one. Both
are made at once, as the builder's tools must be of the kernel's version.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import host, mirrors, paths, tree
from .architecture import NATIVE, Architecture
from .report import SetupError, step
from .sandbox import Sandbox
from .tree import Recipe, Tree

# Count it up when make() changes what comes out.
VERSION = 1
# The initramfs holds the tree's own.
BUSYBOX = "usr/bin/busybox"
BASE_PACKAGES = ("?essential", "busybox-static")
BUILDER_PACKAGES = ("gcc", "libc6-dev", "make", "patch", "perl", "python3-cffi")
# What their packages would have chosen; {} is the triplet.
ALTERNATIVES = {
    "usr/bin/awk": "mawk",
    "usr/bin/cc": "gcc",
    "usr/bin/which": "which.debianutils",
    "usr/lib/{}/libblas.so.3": "blas/libblas.so.3",
    "usr/lib/{}/liblapack.so.3": "lapack/liblapack.so.3",
}
# Where a sandbox of the builder has the tree.
INSIDE = "/sysroot"


def recipes(recipe: Recipe, architecture: Architecture) -> tuple[Recipe, Recipe]:
    """Return the recipes of the tree that is to be like `recipe`'s and of its builder."""
    name = f"{recipe.name}-{architecture.name}"
    packages = [
        package.replace(f"-{NATIVE.name}", f"-{architecture.name}") for package in recipe.packages
    ]
    # They bring the tools that build modules.
    headers = [package for package in recipe.packages if package.startswith("linux-headers-")]
    compiler = f"gcc-{architecture.triplet}"
    builder = (*BUILDER_PACKAGES, compiler, *headers)
    return (
        replace(recipe, name=name, packages=(*packages, *BASE_PACKAGES)),
        replace(recipe, name=f"{name}-builder", packages=builder, image=False),
    )


def get(like: Recipe, architecture: Architecture) -> Tree:
    """Return the tree that is like a recipe's, made now if it was not made before."""
    recipe, builder = recipes(like, architecture)
    key = paths.digest(VERSION, recipe.key(), builder.key(), ALTERNATIVES)
    folder = paths.cache() / "trees" / f"{recipe.name}-{key}"
    if not folder.is_dir():
        host.require(host.TREE, host.SANDBOX)

    def make(aside: Path) -> None:
        sources = mirrors.find().sources(recipe.suite, recipe.extra_suites)
        made = Tree(aside, foreign=True)
        with step(f"making the distribution tree {recipe.name} (Debian {recipe.suite})"):
            for root in (made.root, made.builder.root):
                root.mkdir(parents=True)
            tree.unpack(recipe, sources, made.root, architecture.name)
            tree.unpack(builder, sources, made.builder.root)
            check_tools(made)
            configure(made.root, architecture)
            compile_python(made)
            tree.finish(made)

    return Tree(paths.make_once(folder, make), foreign=True)


def check_tools(made: Tree) -> None:
    """Raise SetupError unless the builder has the tools that the kernel's headers lead to."""
    (headers,) = (made.root / "usr/src").glob(f"linux-headers-{made.release()}")
    tools = made.builder.root / "usr/src" / headers.name / os.readlink(headers / "scripts")
    if not Path(os.path.normpath(tools)).is_dir():
        raise SetupError(f"{NATIVE.name} has no kernel {made.release()} yet: try again later")


def configure(root: Path, architecture: Architecture) -> None:
    """Write what the packages' scripts would have written."""
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    (root / "etc/shadow").touch()
    for link, target in ALTERNATIVES.items():
        path = root / link.format(architecture.triplet)
        if not (path.parent / target).exists():
            raise SetupError(f"{path} is to be {target}, which is not there")
        path.symlink_to(target)


def compile_python(made: Tree) -> None:
    """Compile Python's files: the guest is slow at it, and could not keep what comes out."""
    words = ["python3", "-m", "compileall", "-q", "-s", INSIDE, "-p", "/"]
    folders = sorted((made.root / "usr/lib").glob("python3*"))
    words += [f"{INSIDE}/{folder.relative_to(made.root)}" for folder in folders]
    if Sandbox(made.builder, mounts={made.root: INSIDE}).run(words):
        raise SetupError(f"Python's files in {made.root} do not compile")


def image(base: Tree) -> Path:
    """Return the kernel's image: the newer packages' scripts copy it into /boot."""
    release = base.release()
    unpacked = base.root / "boot" / f"vmlinuz-{release}"
    return unpacked if unpacked.exists() else base.root / "usr/lib/modules" / release / "vmlinuz"


def mounts(base: Tree) -> Mapping[Path, str]:
    """Return what a sandbox of the builder needs to build for the tree."""
    return {base.root: INSIDE, base.root / "usr/src": "/usr/src"}


def environment(base: Tree, architecture: Architecture) -> Mapping[str, str]:
    """Return what makes the builder's Python build extensions for that of the tree."""
    (headers,) = (base.root / "usr/include").glob("python3.*")
    inside = f"{INSIDE}/usr/lib/{headers.name}"
    return {
        "CC": f"{architecture.triplet}-gcc --sysroot={INSIDE}",
        "CFLAGS": f"-I{INSIDE}/usr/include/{headers.name}",
        "PYTHONPATH": inside,
        "_PYTHON_SYSCONFIGDATA_NAME": f"_sysconfigdata__{architecture.triplet}",
    }
