# SPDX-License-Identifier: MIT
"""Numbers that users give."""

from __future__ import annotations

import math
from typing import Any

import click

MOST = 2**31 - 1
"""Process ids and file descriptors are ints."""


class FiniteRange(click.FloatRange):
    """A range of numbers; neither nan nor inf is in any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number
