# SPDX-License-Identifier: MIT
"""Boots a guest, runs one command in it and returns the command's exit status.

virtme-ng works out the QEMU command line and the initramfs; QEMU is then started by qemu.py, so
that its process id is known and nothing outlives this process. Five channels lead out of the
guest: the command's standard output and error, its exit status, the kernel's console, and one to
ask what its displays show.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import build, faults, foreign, host, paths, qemu, screen, venv
from .kernels import Kernel
from .report import SetupError, say

LOST = 255
# How often to start a guest whose QEMU crashes while it boots.
BOOTS = 3
START = Path(__file__).with_name("start.sh")
SESSION = "/run/session"
MODULES = f"{SESSION}/modules"
PROGRAMS = f"{SESSION}/bin"
# As an installation would have it; for whom the environment does not reach, too.
DMABUF_SYNC = f"""\
#!/bin/sh
PYTHONPATH={shlex.quote(str(paths.ROOT / "python"))} exec python3 -m dmabuf_sync "$@"
"""
# A panic ends the run at once, and what would hang for good becomes a panic, but not while the
# kernel boots: on a busy host the emulated clock jumps then, which looks like a lockup, or like a
# timer that does not tick.
KERNEL_OPTIONS = (
    "loglevel=7",
    "no_timer_check",
    "oops=panic",
    "panic=-1",
    "sysctl.kernel.watchdog_thresh=30",
    "sysctl.kernel.softlockup_panic=1",
    "sysctl.kernel.hung_task_panic=1",
)


@dataclass(frozen=True)
class Session:
    """What to run, and in what kind of guest.

    `timeout` is in seconds; `log` is how the console log's name begins; a `checked` command has
    failed when the kernel reported a fault meanwhile, one with `planted` faults (a name, and what
    the kernel says) when it did not report just these; a `repeatable` one may run again if the
    emulator has broken the guest; `threads` gives each CPU a thread; `caching` lets the guest keep
    what it has read of the project folder, where nobody else may write meanwhile. The modules are
    built from the sources as they are or, to see a test fail, with a `patch` applied. With a folder
    for `counters` they count what runs in them, and a test run leaves the counts there.
    """

    command: str
    modules: Sequence[str] = build.MODULES
    share: Path | None = None
    append: Sequence[str] = ()
    cpus: int = 2
    memory: str = "2G"
    icount: bool = False
    threads: bool = True
    caching: bool = False
    timeout: float = 600
    log: str = "console"
    checked: bool = False
    repeatable: bool = False
    planted: Mapping[str, str] = field(default_factory=dict)
    patch: Path | None = None
    counters: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def run(kernel: Kernel, session: Session) -> int:
    """Build what is out of date, boot the guest, and return the command's status.

    255 means that the guest was lost; then the reason and the console's end are on standard
    error. Raises SetupError when there is no guest to boot.
    """
    host.require(host.MACHINE, kernel.architecture.emulator)
    if session.share is not None and not session.share.is_dir():
        raise SetupError(f"SHARE={session.share} is not a folder")
    modules = build.modules(kernel, session.modules, session.patch, session.counters is not None)
    build.extension(kernel)
    with (
        tempfile.TemporaryDirectory(prefix="dmabuf-sync-") as folder,
        console_log(session.log, kernel.name) as log,
    ):
        work = Path(folder)
        prepare(work / "session", kernel, session, modules)
        try:
            command = qemu_command(kernel, session, work, log)
            with screen.Screen(work):
                boot(command, session.timeout, log)
            status = read_status(work / "status")
        except qemu.Lost as lost:
            sys.stdout.flush()
            again = session.repeatable and faults.emulator(log.read_text(errors="replace"))
            if not again:
                sys.stderr.writelines(faults.last_words(log))
                say(f"lost: {lost} (whole log: {log})")
                return LOST
        else:
            found = faults.check(log) if session.checked else 0
            if session.planted:
                found = faults.check_planted(log, session.planted)
            return status or found
    say("the emulator ran a breakpoint that was gone; once more, with one thread for all CPUs")
    return run(kernel, replace(session, repeatable=False, threads=False))


def boot(command: Sequence[str], timeout: float, log: Path) -> None:
    """Run QEMU, again if it crashes before the guest has started the command.

    With a thread for each CPU, QEMU's TCG now and then dies while the guest's kernel moves its PCI
    devices about. That says nothing about the guest, and the command has not begun to run.
    """
    for _ in range(BOOTS - 1):
        try:
            return qemu.run(command, timeout)
        except qemu.Crashed as crash:
            if faults.STARTED in log.read_text(errors="replace"):
                raise
            say(f"{crash} while the guest was booting; once more")
    return qemu.run(command, timeout)


def prepare(folder: Path, kernel: Kernel, session: Session, modules: Sequence[Path]) -> None:
    """Fill the folder that the guest gets as /run/session.

    The modules are copied: a build that goes on meanwhile does not change this guest's.
    """
    for module in modules:
        place = folder / "modules" / module.stem
        place.mkdir(parents=True)
        shutil.copy(module, place)
    programs = folder / "bin"
    programs.mkdir(parents=True)
    command = programs / "dmabuf-sync"
    command.write_text(DMABUF_SYNC)
    command.chmod(0o755)
    names = [module.stem for module in modules if module.stem in build.MODULES]
    (folder / "start").write_text(start_script(kernel.name, session, names))


def mounts(session: Session) -> list[tuple[str, str, Path]]:
    """Return tag, access and path of the folders to mount, outer ones first.

    The project comes after a share of the same path: it stays writable.
    """
    wanted = [("project", "rw", paths.ROOT)]
    if session.share is not None:
        wanted.insert(0, ("share", "ro", session.share))
    return sorted(wanted, key=lambda mount: len(mount[2].parts))


def start_script(kernel: str, session: Session, modules: Sequence[str]) -> str:
    """Return the shell script that the guest starts with; `modules` are names."""
    values = {
        "mounts": "\n".join(" ".join(map(str, mount)) for mount in mounts(session)),
        "cache": "loose" if session.caching else "none",
        "modules": " ".join(modules),
        "project": str(paths.ROOT),
        "command": session.command,
    }
    exported = {
        "PYTHONPATH": str(paths.ROOT / "python"),
        "DMABUF_SYNC_KERNEL": kernel,
        "DMABUF_SYNC_MODULES": MODULES,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PATH": f"{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        **session.env,
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
    return "\n".join([*lines, START.read_text()])


def qemu_command(kernel: Kernel, session: Session, work: Path, log: Path) -> list[str]:
    """Ask virtme-ng for the QEMU command line of this guest.

    Raises SetupError with virtme-ng's own words when it has none.
    """
    words = [str(venv.get("vm")), "-m", "virtme.commands.run", "--dry-run", "--show-command"]
    words += virtme_options(kernel, session, work, log, kvm=qemu.has_kvm())
    # virtme-ng looks at its own standard streams to see what QEMU's will be.
    with (work / "virtme.out").open("w+") as out:
        answer = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True
        )
        out.seek(0)
        lines = [line for line in out if "qemu-system" in line]
    if answer.returncode or len(lines) != 1:
        raise SetupError(f"virtme-ng: {' '.join(answer.stderr.split()) or 'no command line'}")
    return shlex.split(lines[0])


def virtme_options(
    kernel: Kernel, session: Session, work: Path, log: Path, *, kvm: bool
) -> list[str]:
    """Return the options to give to virtme-run."""
    kvm = kvm and not session.icount and not kernel.base.foreign
    words = ["--arch", kernel.architecture.machine]
    if kernel.base.foreign:
        words += ["--busybox", str(kernel.base.root / foreign.BUSYBOX)]
    words += ["--kimg", str(kernel.image), "--mods", "auto"]
    words += ["--force-initramfs", "--save-initramfs", str(work / "initramfs")]
    words += ["--root-disk", str(kernel.base.image), "--root-fstype", "ext4", "--rw"]
    # microvm needs virtiofs, whose daemon not every supported host has.
    words += ["--force-9p", "--disable-microvm"]
    words += [] if kvm else ["--disable-kvm"]
    words += ["--memory", session.memory, "--cpus", str(1 if session.icount else session.cpus)]
    mount = f"mount -t 9p -o trans=virtio,version=9p2000.L,ro session {SESSION}"
    words += ["--script-sh", f"mkdir -p {SESSION} && {mount} && exec sh {SESSION}/start"]
    options = [*KERNEL_OPTIONS, *kernel.architecture.kernel_options, *session.append]
    if kernel.modules_in_base:
        options.insert(0, "virtme_root_mods=1")
    for option in options:
        words += ["--kopt", option]
    # Everything after this goes to QEMU. All guests share the disk image; what one writes goes
    # into a file that QEMU deletes.
    words += ["--qemu-opts", "-set", "drive.virtme-root.snapshot=on"]
    words += ["-set", f"chardev.console.path={log}"]
    words += ["-set", f"chardev.ret.path={work / 'status'}"]
    words += kernel.architecture.options
    # A bus master of nobody here, for vblit-edu; it reaches all memory, unlike by default.
    words += ["-device", "edu,dma_mask=0xffffffffffffffff"]
    words += screen.options(work)
    if session.icount:
        words += ["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off"]
    elif not kvm:
        words += ["-accel", f"tcg,thread={'multi' if session.threads else 'single'}"]
    for tag, access, path in [("session", "ro", work / "session"), *mounts(session)]:
        words += export(tag, access, path)
    return words


def export(tag: str, access: str, folder: Path) -> list[str]:
    """Return QEMU's options that offer a folder to the guest under a 9p tag."""
    path = str(folder).replace(",", ",,")
    readonly = ",readonly=on" if access == "ro" else ""
    fsdev = f"local,id={tag},path={path},security_model=none,multidevs=remap{readonly}"
    return ["-fsdev", fsdev, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


@contextmanager
def console_log(stem: str, kernel: str) -> Iterator[Path]:
    """Give the path for the console log; another one while the usual one is being written."""
    paths.BUILD.mkdir(exist_ok=True)
    number = 1
    while True:
        suffix = "" if number == 1 else f".{number}"
        path = paths.BUILD / f"{stem}-{kernel}{suffix}.log"
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                number += 1
                continue
            os.truncate(path, 0)
            yield path
            return


def read_status(path: Path) -> int:
    """Return the status the guest left in this file; raises qemu.Lost when it left none."""
    text = path.read_text().strip() if path.exists() else ""
    if not text.isdigit():
        raise qemu.Lost("it went down before the command ended")
    return int(text)
