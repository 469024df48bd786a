# SPDX-License-Identifier: MIT
"""The command dmabuf-sync, also as ``python3 -m dmabuf_sync``."""

import sys

from .command.main import main

if __name__ == "__main__":
    sys.exit(main())
