# SPDX-License-Identifier: MIT
"""Runs a QEMU process to its end, its output passed on as it comes."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1


class Lost(Exception):
    """The guest ended without telling the command's exit status; the message says how."""


class Crashed(Lost):
    """QEMU itself died of a signal."""


def has_kvm(cpuinfo: Path = Path("/proc/cpuinfo"), device: Path = Path("/dev/kvm")) -> bool:
    """Say whether KVM works: where the CPU flags lack it, the device can open and guests hang."""
    if not {"vmx", "svm"} & set(cpuinfo.read_text().split()):
        return False
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def run(command: Sequence[str], timeout: float) -> None:
    """Run QEMU until it ends.

    Raises Lost when that takes longer than `timeout` seconds or QEMU fails, Crashed when it died
    of a signal. However this function is left, QEMU is gone.
    """
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    # A session of its own keeps the terminal's Ctrl-C for this process to handle.
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    ) as process:
        assert process.stdout
        assert process.stderr
        streams = {process.stdout: sys.stdout.buffer, process.stderr: sys.stderr.buffer}
        try:
            if not pass_on(streams, time.monotonic() + timeout):
                raise Lost(f"timed out after {timeout:g} s")
            status = process.wait()
        finally:
            process.kill()
    if status < 0:
        raise Crashed(f"QEMU died of signal {-status}")
    if status:
        raise Lost(f"QEMU ended with status {status}")


def pass_on(streams: Mapping[IO[bytes], IO[bytes]], deadline: float) -> bool:
    """Copy each stream to its target until all have ended; False when time runs out first."""
    with selectors.DefaultSelector() as selector:
        for source, target in streams.items():
            selector.register(source, selectors.EVENT_READ, target)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if data:
                    key.data.write(data)
                    key.data.flush()
                else:
                    selector.unregister(key.fileobj)
    return True
