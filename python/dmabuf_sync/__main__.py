# SPDX-License-Identifier: MIT
"""The command dmabuf-sync, also as ``python3 -m dmabuf_sync``."""

import signal
import sys


def main() -> int:
    """Run the command line and return the exit status."""
    # Until it is loaded, Ctrl-C ends it as any program: there is nothing to undo.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .command.main import main as run

    signal.signal(signal.SIGINT, handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
