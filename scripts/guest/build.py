# SPDX-License-Identifier: MIT
"""Builds the kernel modules and the Python extension for a guest, inside its tree's builder."""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from . import debug_kernel, paths
from .kernels import Kernel
from .report import SetupError
from .sandbox import Sandbox

# In the order of loading.
MODULES = ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay")
# Built along with the others; the tests that want them load them.
TEST_MODULES = ("dsync_exporter", "dsync_test", "dsync_importer", "dsync_planted")
# On debug kernels what is on the stack and was never written is recognised: it is 0xfe.
PATTERN = ("-ftrivial-auto-var-init=pattern",)
# For the coverage the modules count what runs. Two CPUs lose no count, an inline function has its
# branches once instead of once for each caller, and other checkers add none of theirs.
COUNTING = ("-fprofile-update=atomic", "-fno-early-inlining")
COUNTED = ("GCOV_PROFILE=y", "KASAN_SANITIZE=n", "UBSAN_SANITIZE=n")
SOURCES = ("Kbuild", "kernel", "tests/module")
PACKAGE = paths.ROOT / "python" / "dmabuf_sync"
UAPI = paths.ROOT / "kernel" / "include" / "uapi"
PRODUCTS = (".o", ".ko", ".a", ".mod", ".mod.c", ".cmd", ".symvers", ".order")


def workspace(kernel: Kernel) -> Path:
    """Return the folder that holds what is built for this kernel."""
    return paths.BUILD / kernel.name


def copied(kernel: Kernel, patch: Path | None = None, counted: bool = False) -> Path:
    """Return where the copy of the sources is that modules() builds from."""
    return workspace(kernel) / ("patched" if patch else "counted" if counted else "src")


def modules(
    kernel: Kernel,
    names: Sequence[str] = MODULES,
    patch: Path | None = None,
    counted: bool = False,
) -> list[Path]:
    """Build modules for `kernel` if anything changed; return their files, in loading order.

    With the framework come the modules of the tests, as the last. With a `patch`, what is built is
    a copy of the sources that it was applied to; those that are `counted` tell gcov what ran, if
    the kernel can. Raises SetupError when the patch does not apply or the compiler finds fault; the
    messages have been printed.
    """
    unknown = set(names) - set(MODULES)
    if unknown:
        raise SetupError(f"MODULES: {' '.join(sorted(unknown))} is none of {' '.join(MODULES)}")
    if not names:
        return []
    copy = copied(kernel, patch, counted)
    made = [copy / "kernel" / name / f"{name}.ko" for name in MODULES if name in names]
    tests = ""
    if "dmabuf_sync" in names:
        tests = "tests/module"
        made += [copy / tests / f"{name}.ko" for name in TEST_MODULES]

    flags = [*(PATTERN if kernel.name in debug_kernel.KINDS else ())]
    flags += COUNTING if counted else ()

    def make() -> None:
        with unbroken(copy):
            compile_modules()

    def compile_modules() -> None:
        mirror(paths.ROOT, copy, SOURCES)
        if patch:
            apply(kernel, patch, copy)
        words = ["make", "-s", f"-j{os.cpu_count() or 1}", "-C", kernel.headers, f"M={copy}"]
        # Without vmlinux there is no BTF to make, only a line of complaint for each module.
        words += ["W=1", "CONFIG_DEBUG_INFO_BTF_MODULES="]
        words += [f"KCFLAGS={' '.join(flags)}"] if flags else []
        words += COUNTED if counted else ()
        words += [f"MODULES={' '.join(names)}", f"TESTS={tests}", "modules"]
        if Sandbox(kernel.base.builder, writable=[copy], mounts=kernel.mounts).run(words):
            raise SetupError(f"the modules do not build for {kernel.release}")

    key = paths.digest(
        kernel.release,
        str(kernel.base.folder),
        list(names),
        fingerprints(path for name in SOURCES for path in sources(paths.ROOT / name)),
        patch.read_text() if patch else None,
        flags,
        COUNTED if counted else (),
    )
    stamp = "modules" if copy.name == "src" else f"{copy.name}-modules"
    when_changed(copy.parent / stamp, key, make, made)
    return made


@contextlib.contextmanager
def unbroken(folder: Path) -> Iterator[None]:
    """Around a build in `folder`: what one that was killed has left there is deleted first.

    make takes a file that is half made for a whole one.
    """
    begun = folder / ".begun"
    if begun.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    begun.touch()
    try:
        yield
    except SetupError:
        begun.unlink()
        raise
    begun.unlink()


def apply(kernel: Kernel, patch: Path, copy: Path) -> None:
    """Apply a patch to a copy of the sources; raises SetupError when it does not fit."""
    words = ["patch", "--strip=1", "--forward", "--quiet", "--no-backup-if-mismatch"]
    words += ["--reject-file=-", f"--directory={copy}", f"--input={patch}"]
    if Sandbox(kernel.base.builder, writable=[copy]).run(words):
        raise SetupError(f"{patch.name} does not apply")


def extension(kernel: Kernel) -> None:
    """Build the Python extensions for the Python of the kernel's tree if anything changed."""
    script = PACKAGE / "_build.py"
    made = workspace(kernel) / "python"

    def make() -> None:
        made.mkdir(parents=True, exist_ok=True)
        words = ["python3", str(script), "--include", str(UAPI), "--output", str(made)]
        env = {"PYTHONDONTWRITEBYTECODE": "1", **kernel.env}
        builder = Sandbox(kernel.base.builder, writable=[made], mounts=kernel.mounts, env=env)
        if builder.run(words, stdout=subprocess.DEVNULL):
            raise SetupError("the Python extensions do not build")

    inputs = [script, *PACKAGE.glob("*.h"), *PACKAGE.glob("*.c"), *UAPI.rglob("*.h")]
    key = paths.digest(str(kernel.base.folder), fingerprints(sorted(inputs)))
    when_changed(made.parent / "extension", key, make, [])
    # Beside the package, where Python looks; the name tells Python versions apart.
    for library in made.glob("_*.so"):
        copy_changed(library, PACKAGE / library.name)


def manual(kernel: Kernel) -> int:
    """Write man pages and shell completion into build/man and build/completion."""
    extension(kernel)
    completion = paths.BUILD / "completion"
    completion.mkdir(parents=True, exist_ok=True)
    env = {"PYTHONPATH": "python", "PYTHONDONTWRITEBYTECODE": "1"}
    sandbox = Sandbox(kernel.base, writable=[paths.BUILD], env=env)
    command = ["python3", "-m", "dmabuf_sync"]
    statuses = [sandbox.run([*command, "manual", "build/man"])]
    for shell in ("bash", "zsh", "fish"):
        with (completion / f"dmabuf-sync.{shell}").open("wb") as file:
            statuses.append(sandbox.run([*command, "completion", shell], stdout=file))
    return max(statuses)


def make_status(kernel: Kernel) -> None:
    """Compile the function that lets `make vm` end with any status; without it make still works."""
    source = paths.ROOT / "scripts" / "make-status.c"
    library = paths.BUILD / "make_status.so"

    def make() -> None:
        words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", str(source), "-o", str(library)]
        Sandbox(kernel.base.builder, writable=[paths.BUILD]).run(words)

    when_changed(paths.BUILD / ".make-status", paths.digest(source.read_text()), make, [library])


def when_changed(stamp: Path, key: str, make: Callable[[], None], made: Sequence[Path]) -> None:
    """Call `make` unless it was last called for the same `key` and what it made is there."""
    with paths.locked(stamp.with_suffix(".lock")):
        done = stamp.with_suffix(".key")
        fresh = done.exists() and done.read_text() == key
        if not (fresh and all(path.exists() for path in made)):
            done.unlink(missing_ok=True)
            make()
            done.write_text(key)


def sources(top: Path) -> list[Path]:
    """Return the source files at or below `top`, without what a build left among them."""
    found = [top] if top.is_file() else sorted(top.rglob("*"))
    return [
        path
        for path in found
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith(PRODUCTS)
    ]


def fingerprints(files: Iterable[Path]) -> list[tuple[str, str]]:
    return [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def mirror(source: Path, target: Path, names: Sequence[str]) -> None:
    """Make the sources called `names` below `target` equal to those below `source`.

    A file that has not changed keeps its time, so that make rebuilds nothing for it; a source
    that is gone goes, while what was built from the others stays.
    """
    listing = target / ".mirrored"
    before = set(listing.read_text().splitlines()) if listing.exists() else set()
    files = [path for name in names for path in sources(source / name)]
    now = {str(path.relative_to(source)) for path in files}
    for name in now:
        copy_changed(source / name, target / name)
    for gone in before - now:
        (target / gone).unlink(missing_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{name}\n" for name in sorted(now)))


def copy_changed(source: Path, target: Path) -> None:
    """Copy a file unless the target holds the same already; the target is never half there."""
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, aside)
    aside.replace(target)
