# SPDX-License-Identifier: MIT
"""dmabuf-sync load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ..modules import (
    MODULES,
    NODES,
    KernelModules,
    ModuleRefused,
    NodeWatch,
    parameters,
    set_parameter,
)
from .failure import Failure, Status
from .numbers import FiniteRange
from .output import emit, json_option, progress

FRAMEWORK = MODULES[0]
TAINTED = Path("/proc/sys/kernel/tainted")
TAINTS = {12: "O: a module from outside the kernel", 13: "E: a module without signature"}


@dataclass(frozen=True)
class Loaded:
    """A line of the output."""

    module: str
    path: str
    loaded_now: bool
    node: str
    parameters: dict[str, str]


def complete_module(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """For the shell: names of modules."""
    return [name for name in MODULES if name.startswith(begun)]


def folder_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--from",
        "folder",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        envvar="DMABUF_SYNC_MODULES",
        show_envvar=True,
        help="Folder with NAME.ko, NAME/NAME.ko or kernel/NAME/NAME.ko: a checkout, for one."
        " Else, or for what is not in it, the installed modules.",
    )(function)


@click.command("load")
@click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@folder_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="MODULE.PARAMETER=VALUE",
    help="Set a parameter of a module, also of one that is loaded already, if the module lets"
    " it be changed then. May be given again.",
)
@click.option(
    "--timeout",
    type=FiniteRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the device nodes.",
)
@json_option
def command(
    modules: tuple[str, ...],
    folder: Path | None,
    settings: tuple[str, ...],
    timeout: float,
    as_json: bool,
) -> None:
    """Load the kernel modules.

    Loads dmabuf_sync (the locks) and, of vdmabuf (an exporter), vblit (a DMA engine) and vdisplay
    (a scan-out), those that there are; or only the MODULEs named. What they depend on comes first.
    Returns when their device nodes are there; where udevd runs, with the owner and mode of its
    rules. What is loaded already stays.

    \b
    Needs root. If the kernel refuses a module, this says why: made for another
    kernel, no or a wrong signature, lockdown, a symbol that is missing.

    \b
    Examples:
      sudo dmabuf-sync load
      sudo dmabuf-sync load --from . --set dmabuf_sync.hold_timeout_ms=1000
    """
    wanted = _parameters(settings)
    before = _taint()
    library = KernelModules(folder)
    watch = NodeWatch()
    names = modules or [name for name in MODULES if name == FRAMEWORK or _there(library, name)]
    if strange := set(wanted) - set(names):
        raise click.UsageError(f"--set: {', '.join(sorted(strange))} is not being loaded")
    now: set[str] = set()
    with progress("loading") as done:
        for name in names:
            try:
                now.update(library.load(name, wanted.get(name)))
            except ModuleRefused as error:
                raise _failure(error) from None
            except FileNotFoundError as error:
                raise Failure(
                    str(error.strerror), Status.MISSING, hint="build it with make, and see --from"
                ) from None
            done(1)
        watch.wait([NODES[name] for name in names if name in NODES], timeout)
    for name in names:
        if name not in now:
            for parameter, value in wanted.get(name, {}).items():
                set_parameter(name, parameter, value)
        path = library.path(name)
        _show(
            Loaded(
                module=name,
                path=str(path) if path else "",
                loaded_now=name in now,
                node=str(NODES.get(name, "")),
                parameters=parameters(name),
            ),
            as_json,
        )
    if not as_json:
        _tell_taint(before)


def _there(library: KernelModules, name: str) -> bool:
    return library.loaded(name) or library.path(name) is not None


def _failure(error: ModuleRefused) -> Failure:
    denied = error.hint.startswith("sudo")
    status = Status.DENIED if denied else Status.FAILED
    return Failure(str(error.strerror), status, hint=error.hint)


def _parameters(settings: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        module, dot, parameter = key.partition(".")
        if not (equals and dot and module and parameter):
            raise click.UsageError(f"--set {setting}: not MODULE.PARAMETER=VALUE")
        found.setdefault(module, {})[parameter] = value
    return found


def _show(loaded: Loaded, as_json: bool) -> None:
    if as_json:
        emit(loaded)
        return
    state = "loaded" if loaded.loaded_now else "was loaded"
    values = " ".join(f"{key}={value}" for key, value in loaded.parameters.items())
    click.echo(f"{loaded.module:12} {state:11} {loaded.node:18} {values}".rstrip())


def _taint() -> int:
    try:
        return int(TAINTED.read_text())
    except (OSError, ValueError):
        return 0


def _tell_taint(before: int) -> None:
    came = _taint() & ~before
    said = [text for bit, text in TAINTS.items() if came >> bit & 1]
    if said:
        click.echo(f"the kernel counts as tainted now ({'; '.join(said)}), until the next boot")
