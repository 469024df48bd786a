# SPDX-License-Identifier: MIT
"""Tracing: what the tracepoints of the modules tell of who locked what, and who waited for whom."""

from .events import Event, Lost, parse, read
from .replay import Violation, replay
from .tracefs import Recorder

__all__ = ["Event", "Lost", "Recorder", "Violation", "parse", "read", "replay"]
