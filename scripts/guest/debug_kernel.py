# SPDX-License-Identifier: MIT
"""Debug kernels: Debian's own kernel source with a small configuration and the checkers on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import paths, tree
from .report import SetupError, run, step, tail
from .sandbox import Sandbox

KINDS = ("lockdep", "kasan")
CONFIGS = paths.ROOT / "scripts" / "kernel-config"
PACKAGE = "linux-source-6.12"
# What a kernel is configured and compiled with.
COMPILING = (
    "bc",
    "bison",
    "flex",
    "gcc",
    "kmod",
    "libc6-dev",
    "libelf-dev",
    "libssl-dev",
    "make",
    "perl",
)
BUILDER = tree.Recipe("kernel-builder", "trixie", (*COMPILING, PACKAGE), image=False)
# The build folder names both by path, so they are always mounted at the same.
SOURCE_INSIDE = "/source"
BUILD_INSIDE = "/kernel"
# Count it up when build() changes what comes out.
VERSION = 1


@dataclass(frozen=True)
class DebugKernel:
    """A built kernel: `folder` has boot/ and lib/modules/ as a root file system has them."""

    folder: Path
    source: Path

    @property
    def release(self) -> str:
        return (self.folder / "build/include/config/kernel.release").read_text().strip()

    @property
    def image(self) -> Path:
        return self.folder / "boot" / f"vmlinuz-{self.release}"

    @property
    def mounts(self) -> Mapping[Path, str]:
        """What a sandbox needs to build modules for it."""
        return {self.source: SOURCE_INSIDE, self.folder / "build": BUILD_INSIDE}


def source() -> Path:
    """Return the unpacked kernel source."""
    builder = tree.get(BUILDER)
    folder = paths.cache() / "kernels" / f"source-{builder.folder.name}"

    def unpack(aside: Path) -> None:
        with step(f"unpacking {PACKAGE}"):
            archive = builder.root / "usr/src" / f"{PACKAGE}.tar.xz"
            run(["tar", "-xf", archive, "-C", aside, "--strip-components=1", "--no-same-owner"])

    return paths.make_once(folder, unpack)


def get(kind: str) -> DebugKernel:
    """Return the debug kernel of this kind, built now if it was not built before (minutes)."""
    configs = [CONFIGS / "base.config", CONFIGS / f"{kind}.config"]
    key = paths.digest(VERSION, BUILDER.key(), [config.read_text() for config in configs])
    folder = paths.cache() / "kernels" / f"{kind}-{key}"
    sources = source()

    def make(aside: Path) -> None:
        with step(f"building the {kind} kernel (some ten minutes)"):
            build(DebugKernel(aside, sources), configs)

    return DebugKernel(paths.make_once(folder, make), sources)


def configured(make: str) -> str:
    """Return the commands that configure the build folder as its fragment.config says."""
    merge = f"{SOURCE_INSIDE}/scripts/kconfig/merge_config.sh"
    return f"""{make} tinyconfig
        cd {BUILD_INSIDE}
        {merge} -m -O {BUILD_INSIDE} .config fragment.config >merge.log
        {make} olddefconfig"""


def build(kernel: DebugKernel, configs: list[Path]) -> None:
    """Configure, build and install the kernel into its empty folder."""
    folder = kernel.folder
    (folder / "build").mkdir()
    (folder / "boot").mkdir()
    fragment = "".join(config.read_text() for config in configs)
    (folder / "build/fragment.config").write_text(fragment)
    make = f"make -s -C {SOURCE_INSIDE} O={BUILD_INSIDE}"
    script = f"""set -e
        {configured(make)}
        {make} -j{os.cpu_count() or 1}
        {make} INSTALL_MOD_PATH=/install modules_install
    """
    mounts = {**kernel.mounts, folder: "/install"}
    builder = Sandbox(tree.get(BUILDER), mounts=mounts)
    log = folder / "build.log"
    with log.open("wb") as file:
        status = builder.run(["sh", "-ec", f"exec 2>&1; {script}"], stdout=file)
    if status:
        sys.stderr.writelines(tail(log, 30))
        kept = paths.cache() / "kernel-build.log"
        shutil.copy(log, kept)
        raise SetupError(f"the kernel does not build: see {kept}")
    unmet = missing_options(fragment, (folder / "build/.config").read_text())
    if unmet:
        raise SetupError(f"the kernel's configuration lacks {' '.join(unmet)}")
    shutil.copy(folder / "build/arch/x86/boot/bzImage", kernel.image)
    # Modules need the build folder's headers and tools, not its object files.
    for path in (folder / "build").rglob("*.[oa]"):
        if path.relative_to(folder / "build").parts[0] not in ("scripts", "tools"):
            path.unlink()


def missing_options(wanted: str, config: str) -> list[str]:
    """Return the options that the fragment `wanted` sets and the kernel's `config` has not."""
    have = set(config.splitlines())
    # A later line of the fragment overrides an earlier one.
    lines = dict(line.split("=", 1) for line in wanted.splitlines() if line.startswith("CONFIG_"))
    return [name for name, value in lines.items() if value != "n" and f"{name}={value}" not in have]
