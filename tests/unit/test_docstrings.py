# SPDX-License-Identifier: MIT
"""Everything public says what it is."""

import enum
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import dmabuf_sync


def public(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """`thing` and, if it is a class of the library, what a user can call or read of it."""
    yield name, thing
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            value = getattr(value, "__func__", value)
            if not member.startswith("_") and (
                inspect.isfunction(value) or isinstance(value, property)
            ):
                yield f"{name}.{member}", value


OBJECTS = {name: getattr(dmabuf_sync, name) for name in dmabuf_sync.__all__ if name != "Operation"}
CLASSES = {
    base.__name__: base
    for thing in OBJECTS.values()
    for base in getattr(thing, "__mro__", ())
    if base.__module__.startswith("dmabuf_sync")
}
NAMES = [pair for name, thing in (OBJECTS | CLASSES).items() for pair in public(name, thing)]


@pytest.mark.parametrize(("name", "thing"), NAMES, ids=[name for name, _ in NAMES])
def test_docstring(name: str, thing: Any) -> None:
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert text and text[0] not in " \n" and text.rstrip()[-1] in ".;:", f"{name} has no docstring"
    assert not text.startswith(f"{name}("), "what a dataclass makes up itself"


def test_what_is_imported_on_demand() -> None:
    code = (
        "import sys, dmabuf_sync\n"
        "assert not [name for name in sys.modules if name.startswith('dmabuf_sync.')]\n"
        "assert {*dmabuf_sync.__all__} <= {*dir(dmabuf_sync)}\n"
        "assert not hasattr(dmabuf_sync, 'nothing')\n"
        "from dmabuf_sync import *\n"
        "assert Access is dmabuf_sync.Access and 'asyncio' not in sys.modules\n"
        "print(*(name for name in dmabuf_sync.__all__ if name not in globals()))\n"
        "from multiprocessing.reduction import ForkingPickler\n"
        "assert DmaBuf in ForkingPickler._extra_reducers\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"


def test_the_pitfalls_are_where_they_bite() -> None:
    buffer = dmabuf_sync.DmaBuf
    for call, words in (
        (buffer.close, "drops **all** fcntl locks"),
        (buffer.map, "mmap.mmap"),
        (buffer.lock, "Threads and asyncio tasks of this process are one owner"),
        (buffer.unlock, "whatever of them was locked"),
        (dmabuf_sync.recv_fds, "drops its fcntl locks"),
    ):
        assert words in " ".join((inspect.getdoc(call) or "").split())
    assert "F_OFD_*" in (buffer.__doc__ or "")
    assert issubclass(dmabuf_sync.Access, enum.Flag)
