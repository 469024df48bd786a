# SPDX-License-Identifier: MIT
"""Damage: what a recording may say in its lines, and the error for what it cannot mean.

All that is read from a file passes through here, so what works with events and buffers need not
doubt them. What is missing, twice or out of order is not damage: a recorder may lose events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

VERSION = 1
"""Of the format of recordings."""
LARGEST = (1 << 63) - 1


class Damaged(ValueError):
    """A line that no recorder writes. The file, if there is one, is named by who has opened it."""

    def __init__(self, what: str, line: int = 0, path: str = "") -> None:
        self.what, self.line, self.path = what, line, path
        place = ", ".join([path] * bool(path) + [f"line {line}"] * bool(line))
        super().__init__(f"{place}: {what}" if place else what)


def number(text: str, what: str, largest: int = LARGEST) -> int:
    """A decimal number from 0 to `largest`."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= largest):
        raise Damaged(f"{what} is not a number that can be: {_short(text)}")
    return int(text)


# What a field of an event may be.


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST


def _signed(text: str) -> bool:
    return _number(text.removeprefix("-"))


def _small(text: str) -> bool:
    return _number(text) and int(text) < 1 << 31


def _status(text: str) -> bool:
    return _small(text.removeprefix("-"))


def _pointer(text: str) -> bool:
    return bool(re.fullmatch("[0-9a-fA-F]{1,16}", text))


def _word(text: str) -> bool:
    return bool(text)


def _kind(text: str) -> bool:
    return text in ("posix", "ofd", "sync", "job", "kernel")


def _type(text: str) -> bool:
    return not text or {"R", "W", "DMA"} >= set(text.split("|"))


def _any(text: str) -> bool:
    return True


_ACCESS = {
    **{"ino": _number, "resv": _word, "owner": _word, "access": _word, "kind": _kind},
    **{"type": _type, "start": _number, "end": _number, "pid": _small},
    **{"since_ns": _signed, "left_ns": _signed},
}
_QUEUED = {"resv": _word, "owner": _word, "access": _word, "before": _pointer, "pid": _small}
_JOB = {"owner": _word, "context": _number, "seqno": _number, "status": _status, "name": _any}
_TOUCH = {"ino": _number, "type": _type, "offset": _number, "pid": _small, "comm": _any}

FIELDS: Mapping[str, Mapping[str, Callable[[str], bool]]] = {
    **dict.fromkeys(("request", "grant", "cancel", "hold", "unlock", "leave"), _ACCESS),
    **dict.fromkeys(("release", "revoke", "deadlock"), _ACCESS),
    **dict.fromkeys(("wait", "overtake"), _QUEUED),
    **dict.fromkeys(("job_publish", "job_start", "job_end"), _JOB),
    "unlocked_access": _TOUCH,
}
"""The fields of each event; others that it has besides are of no concern."""


def check_fields(name: str, fields: Mapping[str, str]) -> None:
    """See to it that an event has its fields, and they are what they must be."""
    for field, fits in FIELDS.get(name, {}).items():
        if field not in fields:
            raise Damaged(f"the event {name} has no {field}")
        if not fits(fields[field]):
            raise Damaged(f"{field} of the event {name} cannot be {_short(fields[field])}")


# What a line of our own may be: JSON, an object with these keys, or without some of them.


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= LARGEST


def _is_text(value: object) -> bool:
    # A lone surrogate has no UTF-8.
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_version(value: object) -> bool:
    if not _is_count(value):
        return False
    if value != VERSION:
        raise Damaged(f"the recording is of format {value}, this dmabuf-sync reads {VERSION}")
    return True


def _is_inode(value: object) -> bool:
    return isinstance(value, str) and _number(value)


def _is_command(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_clocks(value: object) -> bool:
    if not isinstance(value, dict) or not all(map(_is_count, value.values())):
        return False
    boottime, monotonic = int(value.get("boottime", 0)), int(value.get("monotonic", 0))
    return 0 <= boottime - monotonic <= LARGEST // 2


def _is_status(value: object) -> bool:
    return value is None or _is_count(value)


OWN: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "dmabuf-sync-recording": {
        **{"version": _is_version, "command": _is_command, "clocks": _is_clocks},
        **{"kernel": _is_text, "machine": _is_text},
    },
    "buffer": {"ino": _is_inode, "name": _is_text, "exporter": _is_text, "size": _is_count},
    "end": {"lost": _is_count, "status": _is_status, "monotonic": _is_count},
}
"""The lines of our own, each with its keys."""
REQUIRED = {"version", "ino", "lost"}


def own_line(key: str, text: str) -> dict[str, Any]:
    """The values of a line of our own, `# key text`; those of later versions are left out."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged(f"what follows {key} is no JSON") from None
    if not isinstance(value, dict):
        raise Damaged(f"what follows {key} is no object")
    known = OWN[key]
    for name in REQUIRED & known.keys() - value.keys():
        raise Damaged(f"{key} has no {name}")
    for name, fits in known.items():
        if name in value and not fits(value[name]):
            raise Damaged(f"{name} of {key} cannot be {_short(json.dumps(value[name]))}")
    return {name: value[name] for name in known if name in value}


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}…"
