# SPDX-License-Identifier: MIT
"""dmabuf-sync unload."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from ..modules import MODULES, NODES, KernelModules, ModuleInUse
from .failure import Failure
from .load import complete_module
from .numbers import FiniteRange
from .output import emit, json_option, progress
from .processes import DMA_BUF, OpenFile, comm, open_files, pids

# Descriptors of the framework's own kinds, as /proc/PID/fd shows them.
_OF_THE_FRAMEWORK = ("anon_inode:dmabuf_sync", "anon_inode:dmabuf_sync_job")
_PATIENCE = 0.05


@click.command("unload")
@click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@click.option(
    "--wait",
    type=FiniteRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to wait until nobody uses a module.  [default: not at all]",
)
@json_option
def command(modules: tuple[str, ...], wait: float, as_json: bool) -> None:
    """Unload the kernel modules.

    Unloads all of dmabuf_sync, vdmabuf, vblit and vdisplay that are loaded, or only the MODULEs
    named, users before what they use. A module that is in use stays, with a line that says who uses
    it; then those unloaded before it are gone and the others stay.

    Needs root. Unloading leaves the kernel as it was, except that it stays tainted.
    """
    library = KernelModules()
    deadline = time.monotonic() + wait
    with progress("unloading") as done:
        for name in _order(modules):
            if _unload(library, name, deadline):
                _show(name, as_json)
            elif modules:
                raise Failure(f"{name} is not loaded")
            done(1)


def _order(modules: tuple[str, ...]) -> list[str]:
    names = modules or MODULES
    place = {name: number for number, name in enumerate(MODULES)}
    return sorted(names, key=lambda name: -place.get(name, len(place)))


def _show(name: str, as_json: bool) -> None:
    if as_json:
        emit({"module": name})
    else:
        click.echo(f"{name:12} unloaded")


def _unload(library: KernelModules, name: str, deadline: float) -> bool:
    while True:
        try:
            return library.unload(name)
        except ModuleInUse as error:
            if time.monotonic() >= deadline:
                raise Failure(str(error.strerror), hint=_advice(error)) from None
        time.sleep(_PATIENCE)


def _advice(error: ModuleInUse) -> str:
    users = sorted({file.pid for file in _users(error.name)})
    if users:
        named = ", ".join(f"{pid} ({comm(pid)})" for pid in users[:8])
        more = f" and {len(users) - 8} more" if len(users) > 8 else ""
        return f"processes that have it open: {named}{more}"
    if error.holders:
        return f"unload them first: dmabuf-sync unload {' '.join(error.holders)} {error.name}"
    if error.name == MODULES[0]:
        return "somebody holds or waits for a lock: dmabuf-sync status"
    return "its dma-bufs are in use by a device or on their way between processes"


def _users(name: str) -> Iterator[OpenFile]:
    node = NODES.get(name)
    for pid in pids():
        for file in open_files(pid):
            if (
                file.link == str(node)
                or (name == MODULES[0] and file.link in _OF_THE_FRAMEWORK)
                or (file.link.startswith(DMA_BUF) and _exported_by(file, name))
            ):
                yield file


def _exported_by(file: OpenFile, name: str) -> bool:
    try:
        return file.fdinfo().get("exp_name") == name
    except OSError:
        return False
