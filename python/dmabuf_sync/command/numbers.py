# SPDX-License-Identifier: MIT
"""Numbers that users give."""

from __future__ import annotations

import math
from typing import Any

import click

MOST = 2**31 - 1
"""Process ids and file descriptors are ints."""
LARGEST = 1e9
"""Thirty years, if it is seconds: what computes with it does not overflow."""


class FiniteRange(click.FloatRange):
    """A range of numbers up to LARGEST; neither nan nor inf is in any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        if number > LARGEST:
            self.fail(f"{value} is more than {LARGEST:.0f}.", param, ctx)
        return number
