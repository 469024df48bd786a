# SPDX-License-Identifier: MIT
"""dmabuf-sync doctor."""

from __future__ import annotations

from collections.abc import Sequence

import click

from .checks import AREAS, Check, Level, everything
from .failure import Status
from .output import emit, json_option, show, table
from .tables import text

_MARKS = {
    Level.YES: ("yes", "green"),
    Level.NO: ("no", "red"),
    Level.LATER: ("-", "yellow"),
}


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Tell what this kernel, machine and user can do.

    A line for each thing that dmabuf-sync can use, and below how to get what is missing. "no" is
    needed for locks; "-" is for something that not everybody wants. Works without the modules and
    as any user; changes nothing.

    --json prints an object for each check: area, name, level (yes, no, later), detail, remedy.

    Exit status: 0 if this user can lock dma-bufs here with all that dmabuf-sync offers, 3 if not.
    """
    checks = everything()
    if as_json:
        for check in checks:
            emit(check)
    else:
        _show(checks)
    return Status.MISSING if any(check.level is Level.NO for check in checks) else Status.DONE


def _show(checks: Sequence[Check]) -> None:
    made = table("", "", "", "")
    made.show_header = False
    before = ""
    for check in checks:
        area = "" if check.area == before else AREAS[check.area]
        before = check.area
        made.add_row(text(area, "bold"), check.name, text(*_MARKS[check.level]), check.detail)
    show(made)
    remedies: dict[str, list[str]] = {}
    for check in checks:
        if check.remedy and check.level is not Level.YES:
            remedies.setdefault(check.remedy, []).append(check.name)
    if not remedies:
        return
    show(text("\nHow to get what is missing", "bold"))
    for remedy, names in remedies.items():
        show(text(f"{', '.join(names)}:", ""))
        for line in remedy.splitlines():
            show(text(f"    {line}", ""))
