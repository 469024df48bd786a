# SPDX-License-Identifier: MIT
"""Checks: what is there on this machine, and how to get what is not."""

from __future__ import annotations

import enum
import grp
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..blitter import Blitter
from ..heap import HEAPS, heaps
from ..modules import MODULES, NODES, KernelModules
from ..modules.refusal import CAP_SYS_MODULE, has_capability, lockdown, modules_disabled
from .uses import BUFFERS, DEBUGFS

FRAMEWORK = MODULES[0]
OLDEST = (6, 1)
GROUP = "video"
TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
PURPOSES = {
    "dmabuf_sync": "locks",
    "vdmabuf": "exporter",
    "vblit": "DMA engine",
    "vdisplay": "scan-out",
}
EDU = Path(Blitter.EDU)
"""A second node of vblit, there only where QEMU's device is."""
AREAS = {
    "kernel": "Kernel",
    "modules": "Modules",
    "locks": "Locks",
    "buffers": "Buffers",
    "watching": "Watching",
    "python": "Python",
}


class Level(enum.Enum):
    """What a check came to."""

    YES = "yes"
    NO = "no"
    """Missing, and locks need it."""
    LATER = "later"
    """Missing, and not everybody needs it."""


@dataclass(frozen=True)
class Check:
    """One thing that is there or not."""

    area: str
    name: str
    level: Level
    detail: str
    remedy: str = ""
    """What to do about it, a command where there is one; may have several lines."""


def everything() -> list[Check]:
    """All checks, those that others build on first."""
    return [*_kernel(), *_modules(), *_locks(), *_buffers(), *_watching(), *_python()]


def release() -> tuple[int, int]:
    """Version and patch level of the running kernel."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _yes(wanted: bool, otherwise: Level = Level.LATER) -> Level:
    return Level.YES if wanted else otherwise


def _kernel() -> Iterator[Check]:
    name = os.uname().release
    good = release() >= OLDEST
    yield Check(
        "kernel",
        "version",
        _yes(good, Level.NO),
        f"Linux {name} ({os.uname().machine})",
        f"Linux {OLDEST[0]}.{OLDEST[1]} or newer",
    )
    shared = True if _loaded(FRAMEWORK) else _has_symbol("dma_buf_get")
    if shared is not None:
        yield Check(
            "kernel",
            "dma-buf",
            _yes(shared, Level.NO),
            "CONFIG_DMA_SHARED_BUFFER" if shared else "this kernel has no dma-bufs",
            "a kernel with CONFIG_DMA_SHARED_BUFFER: any distribution's",
        )
    build = Path(f"/lib/modules/{name}/build/Makefile").exists()
    yield Check(
        "kernel",
        "headers",
        _yes(build or _loaded(FRAMEWORK)),
        f"/lib/modules/{name}/build" if build else "not installed: modules cannot be built here",
        f"apt install linux-headers-{name}   # or dnf install kernel-devel",
    )
    yield _acceptance()


def _has_symbol(name: str) -> bool | None:
    """Whether the kernel, or a module, has a symbol; None if it does not say."""
    try:
        symbols = Path("/proc/kallsyms").read_bytes()
    except OSError:
        return None
    return re.search(rb" %s\b" % name.encode(), symbols) is not None


def _acceptance() -> Check:
    """Whether the kernel takes modules that nobody has signed."""
    enforced = _text(Path("/sys/module/module/parameters/sig_enforce")) == "Y"
    if modules_disabled():
        detail, remedy = "kernel.modules_disabled=1: none until the next boot", "boot anew"
    elif lockdown() not in ("", "none"):
        detail = f"locked down ({lockdown()}): signed ones only"
        remedy = "sign the modules with a key of your own (mokutil(1)), or turn Secure Boot off"
    elif enforced:
        detail = "module.sig_enforce=1: signed ones only"
        remedy = "sign the modules (the kernel's scripts/sign-file), or boot without it"
    else:
        return Check("kernel", "takes modules", Level.YES, "unsigned ones, too")
    return Check(
        "kernel", "takes modules", Level.YES if _loaded(FRAMEWORK) else Level.LATER, detail, remedy
    )


def _loaded(name: str) -> bool:
    return Path("/sys/module", name, "initstate").exists()


def _modules() -> Iterator[Check]:
    folder = os.environ.get("DMABUF_SYNC_MODULES")
    try:
        library = KernelModules(Path(folder) if folder else None)
    except ImportError:
        library = None
    may_load = has_capability(CAP_SYS_MODULE)
    for name in MODULES:
        needed = Level.NO if name == FRAMEWORK else Level.LATER
        path = library.path(name) if library else None
        if _loaded(name):
            yield Check("modules", name, Level.YES, f"{PURPOSES[name]}; loaded")
            continue
        detail = f"{PURPOSES[name]}; {path or 'no file'}, not loaded"
        load = f"{'' if may_load else 'sudo '}dmabuf-sync load"
        remedy = load if path else f"make && {load} --from .   # in a checkout of dmabuf-sync"
        yield Check("modules", name, needed, detail, remedy)


def _locks() -> Iterator[Check]:
    for name in MODULES:
        node = NODES[name]
        if not _loaded(name):
            continue
        yield _access(
            "locks",
            node,
            Level.NO if name == FRAMEWORK else Level.LATER,
            "timeouts, sync objects" if name == FRAMEWORK else PURPOSES[name],
        )
    if EDU.exists():
        yield _access("locks", EDU, Level.LATER, "DMA engine, QEMU's edu")
    yield Check(
        "locks",
        "fcntl(2)",
        _yes(_loaded(FRAMEWORK), Level.NO),
        "against processes and DMA, on any dma-buf"
        if _loaded(FRAMEWORK)
        else "between processes that use it; no DMA, no fences, no caches",
        "",
    )
    yield _descriptors()


def _access(area: str, node: Path, needed: Level, purpose: str) -> Check:
    if os.access(node, os.R_OK | os.W_OK):
        return Check(area, str(node), Level.YES, purpose)
    if not node.exists():
        return Check(area, str(node), needed, f"{purpose}; not there", "mount devtmpfs on /dev")
    return Check(
        area, str(node), needed, f"{purpose}; not for {_user()}: {_mode(node)}", _group_remedy(node)
    )


def _mode(node: Path) -> str:
    status = node.stat()
    return f"mode {status.st_mode & 0o777:04o}, group {_group_name(status.st_gid)}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _group_remedy(node: Path) -> str:
    status = node.stat()
    group = _group_name(status.st_gid)
    join = "sudo usermod -aG {} {}   # then log in again"
    if group != "root" and status.st_mode & 0o060 == 0o060:
        return join.format(group, _user())
    return (
        f"echo '{udev_rule(node)}' | sudo tee -a /etc/udev/rules.d/70-dmabuf-sync.rules\n"
        f"sudo udevadm control --reload && sudo udevadm trigger\n{join.format(GROUP, _user())}"
    )


def udev_rule(node: Path) -> str:
    """The rule that lets the group use a node; for one of ours, the one that is for all of them."""
    ours = (*NODES.values(), EDU)
    if node.is_relative_to(HEAPS):
        match = 'SUBSYSTEM=="dma_heap"'
    else:
        names = "|".join(each.name for each in (ours if node in ours else (node,)))
        match = f'SUBSYSTEM=="misc", KERNEL=="{names}"'
    return f'{match}, GROUP="{GROUP}", MODE="0660"'


def _descriptors() -> Check:
    scope = _text(Path("/proc/sys/kernel/yama/ptrace_scope")) or "0"
    free = scope == "0" or os.geteuid() == 0
    return Check(
        "locks",
        "other processes'",
        _yes(free),
        "dmabuf-sync lock --pid" if free else f"kernel.yama.ptrace_scope={scope}: root only",
        "sudo dmabuf-sync lock, or sudo sysctl kernel.yama.ptrace_scope=0",
    )


def _buffers() -> Iterator[Check]:
    found = heaps()
    for name in found:
        yield _access("buffers", Path(HEAPS, name), Level.LATER, "dma-heap")
    if not found:
        yield Check(
            "buffers",
            "dma-heaps",
            Level.LATER,
            f"none in {HEAPS}",
            "a kernel with CONFIG_DMABUF_HEAPS_SYSTEM",
        )
    udmabuf = Path("/dev/udmabuf")
    if udmabuf.exists():
        yield _access("buffers", udmabuf, Level.LATER, "dma-bufs of memfds")
    else:
        yield Check("buffers", str(udmabuf), Level.LATER, "not there", "sudo modprobe udmabuf")


def _watching() -> Iterator[Check]:
    readable = os.access(BUFFERS, os.R_OK)
    if readable:
        detail = "status and top show everything"
    elif not _loaded(FRAMEWORK):
        detail = "not without the module: fcntl holders only"
    else:
        detail = "fcntl holders only: debugfs is root's"
    remedy = "sudo dmabuf-sync status"
    if os.geteuid() == 0 and not os.path.ismount(DEBUGFS):
        remedy = f"mount -t debugfs none {DEBUGFS}"
    yield Check("watching", "debugfs", _yes(readable), detail, remedy if not readable else "")

    folder = tracing()
    events = folder is not None and os.access(folder / "events" / FRAMEWORK, os.R_OK | os.X_OK)
    remedy = "sudo dmabuf-sync top"
    if os.geteuid() == 0:
        remedy = "load dmabuf_sync" if folder else "mount -t tracefs none /sys/kernel/tracing"
    yield Check(
        "watching",
        "tracefs",
        _yes(events),
        f"{folder}: rates, waits, recordings" if events else "no tracepoints for this user",
        remedy,
    )


def tracing() -> Path | None:
    """The folder of tracefs if this user may look into it."""
    for folder in TRACEFS:
        if os.access(folder / "trace", os.R_OK):
            return folder
    return None


def _python() -> Iterator[Check]:
    kmod = importlib.util.find_spec("dmabuf_sync._kmod") is not None
    yield Check(
        "python",
        "libkmod",
        _yes(kmod),
        "load and unload" if kmod else "built without: no load and unload",
        "apt install libkmod-dev, then install dmabuf-sync again",
    )
    for package, name, purpose in (
        ("numpy", "numpy", "arrays without a copy"),
        ("pillow", "PIL", "timelines as PNG"),
        ("protobuf", "google.protobuf", "timelines for Perfetto"),
        ("pyudev", "pyudev", "waiting for device nodes"),
    ):
        yield Check("python", package, _yes(_has(name)), purpose, f"pip install {package}")


def _has(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what it is in
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
