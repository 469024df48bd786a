# SPDX-License-Identifier: MIT
"""Where this machine gets Debian's packages from; the trees get theirs there too."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

from .report import SetupError

# One line of `apt-get update --print-uris`.
RELEASE_FILE = re.compile(r"^'(?P<base>.+?)/?/dists/(?P<suite>[^']+)/InRelease'")
CODENAMES = r"(?:bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)"
PASSED_ON = re.compile(r'^(Acquire::https?::(?:Proxy|CaInfo|Verify-Peer)[^ ]*) "(.+)";$')


@dataclass(frozen=True)
class Mirrors:
    """The base addresses of the main archive and, where there is one, of the security archive."""

    main: str
    security: str | None

    def sources(self, suite: str, extra: tuple[str, ...] = ()) -> list[str]:
        """Return the lines of a sources.list for `suite` and further suites of the archive."""
        lines = [f"deb {self.main} {name} main" for name in (suite, f"{suite}-updates", *extra)]
        if self.security:
            lines.append(f"deb {self.security} {suite}-security main")
        return lines


def parse(uris: str) -> Mirrors | None:
    """Find the mirrors in the output of ``apt-get update --print-uris``; None without Debian's.

    Other vendors name their suites after Debian's too. Debian's own archive is the one with the
    updates suite beside it, or failing that the one in a folder called debian.
    """
    suites: dict[str, set[str]] = {}
    security = None
    for line in uris.splitlines():
        match = RELEASE_FILE.match(line)
        if not match:
            continue
        base, suite = match["base"], match["suite"]
        if re.fullmatch(rf"{CODENAMES}(-security|/updates)", suite):
            security = security or base
        elif re.fullmatch(rf"{CODENAMES}(-updates|-backports)?", suite):
            suites.setdefault(base, set()).add(suite)
    if not suites:
        return None

    def likelihood(base: str) -> tuple[bool, bool]:
        updates = any(suite.endswith("-updates") for suite in suites[base])
        return updates, base.rstrip("/").endswith("/debian")

    return Mirrors(max(suites, key=likelihood), security)


def find() -> Mirrors:
    """Return this machine's mirrors: DEBIAN_MIRROR and DEBIAN_SECURITY_MIRROR, else apt's own."""
    named = os.environ.get("DEBIAN_MIRROR")
    if named:
        return Mirrors(named, os.environ.get("DEBIAN_SECURITY_MIRROR"))
    try:
        command = ["apt-get", "update", "--print-uris"]
        uris = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        uris = ""
    found = parse(uris)
    if found is None:
        raise SetupError("apt knows no Debian archive here: name one with DEBIAN_MIRROR=http://...")
    return found


def apt_options() -> list[str]:
    """Return this machine's proxy settings as apt.conf lines."""
    try:
        text = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    except OSError:
        return []
    matches = map(PASSED_ON.match, text.splitlines())
    return [f'{match[1]} "{match[2]}";' for match in matches if match]
