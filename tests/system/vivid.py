# SPDX-License-Identifier: MIT
"""vivid, the kernel's V4L2 test driver, with a capture and an output node."""

from __future__ import annotations

import glob
import subprocess

from actors import until

# A camera and an HDMI output, and nothing that takes long to set up.
OPTIONS = (
    "n_devs=1 node_types=0x101 num_inputs=1 input_types=0 num_outputs=1 output_types=1"
    " no_error_inj=1"
)


def nodes() -> dict[str, str]:
    """Its nodes, by the last part of their names."""
    found = {}
    for path in glob.glob("/sys/class/video4linux/video*/name"):
        with open(path) as file:
            driver, _, kind = file.read().strip().partition("-")
        if driver == "vivid":
            found[kind.split("-", 1)[1]] = "/dev/" + path.split("/")[4]
    return found


def vivid_pair() -> tuple[str, str]:
    """The capture and the output node; loads the module, anew if it has no output."""
    if "vid-out" not in nodes():
        subprocess.run(["modprobe", "-r", "vivid"], check=True)
        subprocess.run(["modprobe", "vivid", *OPTIONS.split()], check=True)
    until(lambda: {"vid-cap", "vid-out"} <= set(nodes()), "vivid's nodes")
    return nodes()["vid-cap"], nodes()["vid-out"]
