# SPDX-License-Identifier: MIT
"""Loads and unloads vblit.ko."""

from __future__ import annotations

import os
import subprocess


def rmmod() -> str:
    """What rmmod says, empty for success."""
    command = ["rmmod", "vblit"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def insmod(*parameters: str) -> str:
    """What insmod says, empty for success."""
    path = os.path.join(os.environ["DMABUF_SYNC_MODULES"], "vblit", "vblit.ko")
    command = ["insmod", path, *parameters]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr
