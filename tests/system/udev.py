# SPDX-License-Identifier: MIT
"""systemd-udevd, which the guest does without otherwise, for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from actors import until

# Where the guest's tree has put it; a stand-in is in its place.
PROGRAMS = Path("/usr/lib/udev/aside")
RUN = Path("/run/udev")


class Udev:
    """Runs udevd while it is entered. Rules come and go with install() and remove()."""

    def __enter__(self) -> Udev:
        (RUN / "rules.d").mkdir(parents=True, exist_ok=True)
        self._daemon = subprocess.Popen(
            [PROGRAMS / "systemd-udevd"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until((RUN / "control").exists, "udevd")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._daemon.terminate()
        self._daemon.wait()
        # While its socket is there, everybody believes that it runs.
        shutil.rmtree(RUN)

    @property
    def verifies(self) -> bool:
        """udevadm verify came with systemd 254."""
        return "verify" in self.admin("--help")

    def admin(self, *words: str | os.PathLike[str]) -> str:
        """Run udevadm; what it says."""
        done = subprocess.run(
            [PROGRAMS / "udevadm", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def install(self, rules: Path) -> None:
        """Take rules into use, for the devices that there are, too."""
        shutil.copy(rules, RUN / "rules.d")
        self.admin("control", "--reload")
        self.admin("trigger", "--subsystem-match=misc", "--subsystem-match=dma_heap", "--settle")

    def remove(self, rules: Path) -> None:
        (RUN / "rules.d" / rules.name).unlink()
        self.admin("control", "--reload")
