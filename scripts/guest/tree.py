# SPDX-License-Identifier: MIT
"""Distribution trees: the guest's root as a folder (to build in) and as a disk image (to boot).

The disk image exists because a guest reads it through virtio-blk and its own page cache: starting
pytest from a folder shared over 9p takes five times as long. The folder stays for the builds.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import host, mirrors, paths
from .report import SetupError, run, step, tail

# Part of the key of every tree: count it up when make() changes what comes out.
VERSION = 1
GUEST_PACKAGES = (
    "fonts-dejavu-core",
    "gcc",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-tools",
    "iproute2",
    "kmod",
    "libc6-dev",
    "libkmod-dev",
    "make",
    "mount",
    "patch",
    "perl",
    "procps",
    "python3",
    "python3-cffi",
    "python3-click",
    "python3-dev",
    "python3-hypothesis",
    "python3-numpy",
    "python3-pil",
    "python3-protobuf",
    "python3-pytest",
    "python3-pytest-timeout",
    "python3-pyudev",
    "python3-rich",
    "spin",
    "strace",
    "stress-ng",
    "udev",
    "util-linux",
    "v4l-utils",
    # The smallest package that satisfies the kernel's dependency on an initramfs maker: it
    # brings no systemd, whose cold start would take longer than the kernel's.
    "tiny-initramfs",
)
LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
)
# Decompressed for the guest: it loads these while booting or in the tests, and is slow at it.
UNPACKED = (
    "arch/x86/crypto",
    "crypto",
    "drivers/block",
    "drivers/gpu/drm/*.ko.xz",
    "drivers/gpu/drm/vgem",
    "drivers/media/cec",
    "drivers/media/common",
    "drivers/media/mc",
    "drivers/media/test-drivers",
    "drivers/media/v4l2-core",
    "drivers/virtio",
    "fs",
    "lib",
    "net/9p",
)
# To start udev cold takes long, too: it stays aside for the tests that want it.
STAND_IN = Path(__file__).with_name("udevd.sh")
STANDS_IN_FOR = ("usr/lib/systemd/systemd-udevd", "usr/bin/udevadm")
SET_ASIDE = "usr/lib/udev/aside"


@dataclass(frozen=True)
class Recipe:
    """What a tree is made from; a tree is made anew when any of it changes."""

    name: str
    suite: str
    packages: tuple[str, ...]
    extra_suites: tuple[str, ...] = ()
    image: bool = True

    def key(self) -> str:
        guest = (UNPACKED, STANDS_IN_FOR, SET_ASIDE, STAND_IN.read_text()) if self.image else None
        return paths.digest(
            VERSION, self.suite, self.extra_suites, sorted(self.packages), LEFT_OUT, guest
        )


@dataclass(frozen=True)
class Tree:
    """A finished tree; this machine cannot run the programs of a `foreign` one."""

    folder: Path
    foreign: bool = False

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def image(self) -> Path:
        return self.folder / "root.img"

    @property
    def builder(self) -> Tree:
        """The tree to build in."""
        return Tree(self.folder / "builder") if self.foreign else self

    def release(self) -> str:
        """Return the release of its kernel, as uname -r says it."""
        found = sorted(path.name for path in (self.root / "usr/lib/modules").iterdir())
        if len(found) != 1:
            raise SetupError(f"{self.root} has {len(found)} kernels instead of one")
        return found[0]


def get(recipe: Recipe) -> Tree:
    """Return the tree of this recipe, made now if it was not made before."""
    folder = paths.cache() / "trees" / f"{recipe.name}-{recipe.key()}"
    if not folder.is_dir():
        host.require(host.TREE)
    return Tree(paths.make_once(folder, lambda aside: make(recipe, aside)))


def make(recipe: Recipe, folder: Path) -> None:
    """Make the tree in an empty folder."""
    sources = mirrors.find().sources(recipe.suite, recipe.extra_suites)
    tree = Tree(folder)
    tree.root.mkdir()
    with step(f"making the distribution tree {recipe.name} (Debian {recipe.suite})"):
        unpack(recipe, sources, tree.root)
        if recipe.image:
            finish(tree)


def finish(tree: Tree) -> None:
    """Make the disk image of a tree that has its packages."""
    unpack_modules(tree)
    set_udev_aside(tree.root)
    make_image(tree)


def unpack(recipe: Recipe, sources: list[str], root: Path, foreign: str = "") -> None:
    """Fill `root` with the recipe's packages; those of a `foreign` architecture just unpacked.

    It goes through an archive so that a plain user gets files of their own, without the device
    nodes that only root can make.
    """
    command = ["mmdebstrap", "--format=tar"]
    if foreign:
        command += ["--variant=extract", f"--architectures={foreign}"]
    else:
        command += ["--variant=essential"]
    command += [f"--include={package}" for package in recipe.packages]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += ['--aptopt=Acquire::Retries "5";', '--aptopt=Acquire::Languages "none";']
    command += [f"--aptopt={option}" for option in mirrors.apt_options()]
    command += [recipe.suite, "-", *sources]
    log = root.parent / "mmdebstrap.log"
    extract = ["tar", "-x", "-C", str(root), "--no-same-owner", "--exclude=./dev/*"]
    with log.open("wb") as messages:
        maker = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
        )
        with subprocess.Popen(extract, stdin=maker.stdout, stderr=messages) as extractor:
            assert maker.stdout
            maker.stdout.close()
        status = maker.wait()
    if status or extractor.returncode:
        sys.stderr.writelines(tail(log, 10))
        kept = paths.cache() / "mmdebstrap.log"
        shutil.copy(log, kept)
        raise SetupError(f"mmdebstrap failed: see {kept}")


def unpack_modules(tree: Tree) -> None:
    """Decompress the modules that a guest uses, where the distribution compresses them."""
    release = tree.release()
    top = tree.root / "usr/lib/modules" / release / "kernel"
    packed = [
        path
        for pattern in UNPACKED
        for found in top.glob(pattern)
        for path in ([found] if found.is_file() else sorted(found.rglob("*.ko.xz")))
    ]
    if packed:
        run(["xz", "--decompress", *packed])
        run(["depmod", "-b", tree.root, release])


def set_udev_aside(root: Path) -> None:
    """Put the stand-in where udev's programs are, which go into a folder of their own.

    They are one, which tells by its name what it is to be; in the package one of the names is a
    link, in some releases an absolute one.
    """
    aside = root / SET_ASIDE
    aside.mkdir(parents=True)
    shutil.copy(root / "usr/bin/udevadm", aside)
    (aside / "systemd-udevd").symlink_to("udevadm")
    for name in STANDS_IN_FOR:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy(STAND_IN, target)
        target.chmod(0o755)


def make_image(tree: Tree) -> None:
    """Make the disk image of a tree's folder."""
    used = subprocess.run(["du", "-sm", tree.root], capture_output=True, text=True, check=True)
    size = int(used.stdout.split()[0]) * 5 // 4 + 128
    options = ["-q", "-t", "ext4", "-m", "0", "-O", "^has_journal"]
    options += ["-E", "root_owner=0:0,lazy_itable_init=1", "-d", str(tree.root)]
    run(["mke2fs", *options, tree.image, f"{size}M"], log=tree.folder / "mke2fs.log")
