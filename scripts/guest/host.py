# SPDX-License-Identifier: MIT
"""What this machine must have installed, and how it gets it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import paths
from .report import SetupError, run, step

# Program to look for: the Debian package that brings it.
TREE = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "tar": "tar",
    "xz": "xz-utils",
}
if os.geteuid() != 0:
    TREE["newuidmap"] = "uidmap"  # mmdebstrap's user namespaces
SANDBOX = {"bwrap": "bubblewrap"}
MACHINE = {
    "busybox": "busybox-static",
    "file": "file",
    "modprobe": "kmod",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# A user's PATH leaves these out, and that is where mke2fs and modprobe are.
SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def search_path() -> str:
    """Return PATH with the system's own folders at its end."""
    path = os.environ.get("PATH", os.defpath).split(":")
    return ":".join([*path, *(folder for folder in SYSTEM_PATH if folder not in path)])


def missing(programs: Mapping[str, str]) -> list[str]:
    """Return the packages of those programs that are not there."""
    path = os.environ["PATH"] = search_path()
    return [
        package for program, package in programs.items() if shutil.which(program, path=path) is None
    ]


def missing_venv() -> list[str]:
    """Return the package that lets this Python make virtual environments, if it lacks it."""
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return []
    return ["python3-venv"]


def apt_prefix() -> list[str]:
    """Return the words to put before apt-get; raises SetupError when there is no way."""
    if shutil.which("apt-get") is None:
        raise SetupError("no apt-get")
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        asks = subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode
        if not asks or os.isatty(0):
            return ["sudo"]
    raise SetupError("neither root nor sudo")


def install(packages: Iterable[str]) -> None:
    """Install Debian packages; none given, nothing is done.

    Raises SetupError with one line that names them when that is not possible here.
    """
    names = sorted(set(packages))
    if not names:
        return
    by_hand = f"missing on this machine: apt-get install {' '.join(names)}"
    try:
        prefix = apt_prefix()
    except SetupError as error:
        raise SetupError(f"{by_hand} ({error})") from None
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    log = paths.cache() / "apt.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with step(f"installing {' '.join(names)}"):
        try:
            run([*apt, "-o", "Acquire::Retries=3", "update"], log=log)
            run([*apt, "install", "--no-install-recommends", *names], log=log)
        except SetupError as error:
            raise SetupError(f"{by_hand} (tried: {error})") from None


def require(*groups: Mapping[str, str], venv: bool = False) -> None:
    """See to it that every program of these groups is there, with one apt-get call at most."""
    packages = [package for group in groups for package in missing(group)]
    if venv:
        packages += missing_venv()
    if TREE in groups and not KEYRING.exists():
        packages.append("debian-archive-keyring")
    install(packages)
