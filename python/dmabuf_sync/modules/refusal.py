# SPDX-License-Identifier: MIT
"""Why the kernel refuses a module, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CAP_SYS_MODULE = 16
LOCKDOWN = Path("/sys/kernel/security/lockdown")
MODULES_DISABLED = Path("/proc/sys/kernel/modules_disabled")


class ModuleRefused(OSError):
    """The kernel did not take a module; `hint` says what can be done."""

    def __init__(self, number: int, message: str, hint: str) -> None:
        super().__init__(number, message)
        self.hint = hint


class KernelLog:
    """What the kernel logs while this is open; nothing for users who may not read its log."""

    def __init__(self) -> None:
        self._fd = -1

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def lines(self) -> list[str]:
        """What came since the last call."""
        found = []
        while self._fd >= 0:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                break
            except BrokenPipeError:  # overwritten before we came
                continue
            except OSError:
                break
            text = record.decode(errors="replace").partition(";")[2]
            found.append(text.partition("\n")[0])
        return found


def has_capability(number: int) -> bool:
    """Whether this process has a capability(7) in effect."""
    match = re.search(r"^CapEff:\s*(\w+)$", Path("/proc/self/status").read_text(), re.M)
    return match is not None and bool(int(match[1], 16) >> number & 1)


def lockdown() -> str:
    """The kernel's lockdown mode: "none", "integrity", "confidentiality", "" if it has none."""
    try:
        match = re.search(r"\[(\w+)\]", LOCKDOWN.read_text())
    except OSError:
        return ""
    return match[1] if match else ""


def modules_disabled() -> bool:
    """Whether no module at all can be loaded until the next boot."""
    try:
        return MODULES_DISABLED.read_text().strip() == "1"
    except OSError:
        return False


def explained(
    name: str, number: int, version_magic: str = "", log: Sequence[str] = ()
) -> ModuleRefused:
    """The exception for errno `number` at loading `name`; `log` is what the kernel said."""
    why, hint = _reason(name, number, version_magic, "\n".join(log))
    return ModuleRefused(number, f"the kernel refuses {name}: {why}", hint)


def _reason(name: str, number: int, version_magic: str, log: str) -> tuple[str, str]:
    release = os.uname().release
    rebuild = "build it for this kernel: make KDIR=/lib/modules/$(uname -r)/build"
    made_for = version_magic.partition(" ")[0]
    if number == errno.EPERM:
        return _not_permitted(log)
    if number in (errno.EKEYREJECTED, errno.ENOKEY, errno.EBADMSG, errno.ENOPKG):
        return (
            f"it takes only modules signed with a key that it trusts ({os.strerror(number)})",
            "sign it with such a key (mokutil(1), the kernel's scripts/sign-file), or boot with"
            " module.sig_enforce=0 and without Secure Boot",
        )
    if made_for and made_for != release and number in (errno.ENOEXEC, errno.EINVAL):
        return f"it was made for {made_for}, this is {release}", rebuild
    if match := re.search(r"version magic '(.*)' should be '(.*)'", log):
        return f"it was made for '{match[1].strip()}', this is '{match[2].strip()}'", rebuild
    if match := re.search(r"disagrees about version of symbol (\w+)", log):
        return f"it was made for another build of {release}: {match[1]} differs", rebuild
    if symbols := re.findall(r"Unknown symbol (\w+)", log):
        return (
            f"this kernel lacks {', '.join(dict.fromkeys(symbols))}",
            "the kernel needs CONFIG_DMA_SHARED_BUFFER and, for the module, "
            "what it depends on: see modinfo(8)",
        )
    if number == errno.ENOENT:
        return "it needs a symbol that this kernel has not", "the kernel's log (dmesg) names it"
    if match := re.search(r"`(.*)' invalid for parameter `(\w+)'", log):
        return f"{match[1]!r} is no value for its parameter {match[2]}", f"modinfo {name}"
    if number == errno.ENOEXEC:
        return "the file is no module for this machine", rebuild
    if number == errno.EBUSY and name == "dmabuf_sync":
        return (
            "something else handles fcntl() on dma-bufs already",
            "unload it, or use this kernel's own locks",
        )
    said = log.strip().splitlines()
    text = os.strerror(number) + (f" (the kernel's log: {said[-1].strip()})" if said else "")
    return text, "" if said else "the kernel's log (dmesg) may say more"


def _not_permitted(log: str) -> tuple[str, str]:
    if not has_capability(CAP_SYS_MODULE):
        return "only root may load modules", "sudo dmabuf-sync load"
    if modules_disabled():
        return (
            "loading is off until the next boot (kernel.modules_disabled=1)",
            "find who sets it: grep -r modules_disabled /etc/sysctl*",
        )
    if lockdown() not in ("", "none") or "Lockdown" in log:
        return (
            f"it is locked down ({lockdown() or 'lockdown'}) and takes signed modules only",
            "sign it with a key that the kernel trusts (mokutil(1)), or turn Secure Boot off",
        )
    return "a security module does not permit it", "the kernel's log (dmesg) or audit.log say which"
