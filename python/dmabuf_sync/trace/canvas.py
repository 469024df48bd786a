# SPDX-License-Identifier: MIT
"""Canvases to draw charts on: a PNG through Pillow, or an SVG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from PIL import Image, ImageFont

BACKGROUND = "#ffffff"
_HATCH = 5
_FAMILY = "DejaVu Sans, Verdana, sans-serif"
# Of a letter of DejaVu Sans, as a share of the font's size.
_LETTER = 0.62


class Canvas(Protocol):
    """Pixels from the upper left corner. An anchor is l, m or r and a (top) or m, as Pillow's."""

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, tip: str = ""
    ) -> None: ...

    def hatched(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, tip: str = ""
    ) -> None: ...

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None: ...

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "la"
    ) -> None: ...

    def text_length(self, text: str, size: int) -> float: ...

    def save(self, path: str | os.PathLike[str]) -> None: ...


class PixelCanvas:
    """Draws pixels. ImportError without Pillow."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw

        self.image: Image.Image = Image.new("RGB", (width, height), BACKGROUND)
        self._draw = ImageDraw.Draw(self.image)
        self._fonts: dict[int, ImageFont.ImageFont | ImageFont.FreeTypeFont] = {}

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, tip: str = ""
    ) -> None:
        self._draw.rectangle((x0, y0, x1, y1), fill=colour)

    def hatched(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, tip: str = ""
    ) -> None:
        height = y1 - y0
        x = x0 - height
        while x < x1:
            # The part of the stroke that is inside.
            low, high = max(x0 - x, 0.0), min(x1 - x, height)
            self._draw.line((x + low, y1 - low, x + high, y1 - high), fill=colour)
            x += _HATCH
        self._draw.rectangle((x0, y0, x1, y1), outline=colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        self._draw.line((x0, y0, x1, y1), fill=colour)

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "la"
    ) -> None:
        self._draw.text((x, y), _plain(text), fill=colour, font=self._font(size), anchor=anchor)

    def text_length(self, text: str, size: int) -> float:
        return self._draw.textlength(_plain(text), font=self._font(size))

    def save(self, path: str | os.PathLike[str]) -> None:
        self.image.save(path)

    def _font(self, size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
        from PIL import ImageFont

        if size not in self._fonts:
            # The built-in font has sizes and anchors from Pillow 10.1 on; Debian 12 has 9.4.
            try:
                self._fonts[size] = ImageFont.truetype("DejaVuSans.ttf", size)
            except OSError:
                self._fonts[size] = ImageFont.load_default(size)
        return self._fonts[size]


class VectorCanvas:
    """Draws an SVG, in which bars have tool tips."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._shapes: list[str] = []
        self._patterns: dict[str, str] = {}

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, tip: str = ""
    ) -> None:
        self._box(x0, y0, x1, y1, f'fill="{colour}"', tip)

    def hatched(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, tip: str = ""
    ) -> None:
        pattern = self._patterns.setdefault(colour, f"hatch{len(self._patterns)}")
        self._box(x0, y0, x1, y1, f'fill="url(#{pattern})" stroke="{colour}"', tip)

    def _box(self, x0: float, y0: float, x1: float, y1: float, style: str, tip: str) -> None:
        width, height = max(x1 - x0, 0.1), max(y1 - y0, 0.1)
        box = f'<rect x="{x0:.2f}" y="{y0:.2f}" width="{width:.2f}" height="{height:.2f}" {style}'
        self._shapes.append(
            f"{box}><title>{_escape(tip)}</title></rect>" if tip else f"{box}/>"
        )

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        self._shapes.append(
            f'<line x1="{x0:.2f}" y1="{y0:.2f}" x2="{x1:.2f}" y2="{y1:.2f}" stroke="{colour}"/>'
        )

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "la"
    ) -> None:
        across = {"l": "start", "m": "middle", "r": "end"}[anchor[0]]
        # Not dominant-baseline, which few programs but browsers know.
        base = y + size * (0.36 if anchor[1] == "m" else 0.93)
        self._shapes.append(
            f'<text x="{x:.2f}" y="{base:.2f}" font-size="{size}" fill="{colour}"'
            f' text-anchor="{across}">{_escape(text)}</text>'
        )

    def text_length(self, text: str, size: int) -> float:
        return len(text) * size * _LETTER

    def save(self, path: str | os.PathLike[str]) -> None:
        Path(path).write_text(self.svg(), encoding="utf-8")

    def svg(self) -> str:
        """The whole document."""
        patterns = "".join(
            f'<pattern id="{name}" width="{_HATCH}" height="{_HATCH}"'
            ' patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            f'<line x1="0" y1="0" x2="0" y2="{_HATCH}" stroke="{colour}" stroke-width="2"/>'
            "</pattern>"
            for colour, name in self._patterns.items()
        )
        size = f'width="{self._width}" height="{self._height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
            f' viewBox="0 0 {self._width} {self._height}" font-family="{_FAMILY}">\n'
            f"<defs>{patterns}</defs>\n"
            f'<rect {size} fill="{BACKGROUND}"/>\n' + "\n".join(self._shapes) + "\n</svg>\n"
        )


def _plain(text: str) -> str:
    """Without control characters: names are chosen by users."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _escape(text: str) -> str:
    """Text for XML 1.0, which has no word for control characters."""
    return escape(_plain(text))
