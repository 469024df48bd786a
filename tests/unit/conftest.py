# SPDX-License-Identifier: MIT
"""Lets the unit tests import the library and the guest's scripts from this checkout."""

import signal
import sys
from pathlib import Path

for _folder in ("scripts", "python"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / _folder))

# Started in the background of a shell, it is ignored, and so it would be in all child processes.
signal.signal(signal.SIGINT, signal.default_int_handler)
