# SPDX-License-Identifier: MIT
"""Tracing: what the tracepoints of the modules tell of who locked what, and who waited for whom."""

from .damage import Damaged
from .events import Event, Lost, parse, read
from .history import History, history_of
from .recording import Recording, load
from .replay import Violation, replay
from .tracefs import Recorder

__all__ = [
    "Damaged",
    "Event",
    "History",
    "Lost",
    "Recorder",
    "Recording",
    "Violation",
    "history_of",
    "load",
    "parse",
    "read",
    "replay",
]
