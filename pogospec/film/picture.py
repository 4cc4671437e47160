"""Panels side by side in one picture, each with its label, its return so far and a mark where it is over."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pogospec.film.play import Panel

PAPER, INK, FAINT, BAND = (255, 255, 255), (33, 33, 33), (110, 110, 110), (255, 255, 255, 205)
PARTED = "  ·  "
"""Between the parts of a title."""
ACROSS, GAP = 4, 6
"""Panels in a row at most; pixels between two."""


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def columns_of(count: int) -> int:
    """How many panels lie side by side: rows as even as can be."""
    return math.ceil(count / math.ceil(count / ACROSS))


def composed(panels: Sequence[Panel], labels: Sequence[str], title: str, pixels: int) -> Image.Image:
    """One picture, whose sizes are even numbers, as films need them."""
    across = columns_of(len(panels))
    down = math.ceil(len(panels) / across)
    size, line = max(11, pixels // 20), max(24, pixels // 11)
    width = across * pixels + (across - 1) * GAP
    lines = _lines(title, width - 2 * GAP, size)
    top = line * len(lines)
    height = top + down * pixels + (down - 1) * GAP
    whole = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
    pen = ImageDraw.Draw(whole)
    for number, text in enumerate(lines):
        pen.text((GAP, number * line + line // 2), text, INK, _font(size), anchor="lm")
    for number, (panel, label) in enumerate(zip(panels, labels, strict=True)):
        row, column = divmod(number, across)
        whole.paste(_panel(panel, label, pixels, size), (column * (pixels + GAP), top + row * (pixels + GAP)))
    return whole


def paled(image: Image.Image) -> Image.Image:
    """A picture of what is over."""
    return Image.blend(image, Image.new("RGB", image.size, PAPER), 0.3)


def _panel(panel: Panel, label: str, pixels: int, size: int) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(panel.picture[..., :3], np.uint8))
    if image.size != (pixels, pixels):
        image.thumbnail((pixels, pixels))
        square = Image.new("RGB", (pixels, pixels), PAPER)
        square.paste(image, ((pixels - image.width) // 2, (pixels - image.height) // 2))
        image = square
    image = paled(image) if panel.over else image
    pen = ImageDraw.Draw(image, "RGBA")
    _written(pen, label, (0, 0), size, True)
    gained = "not finite" if math.isnan(panel.gained) else f"{panel.gained:,.1f}".replace("-", "−")
    _written(pen, f"return {gained}" + (", over" if panel.over else ""), (0, pixels), size, False)
    return image


def _written(pen: ImageDraw.ImageDraw, text: str, corner: tuple[int, int], size: int, bold: bool) -> None:
    """Text on a pale band in the upper or the lower left corner."""
    font, edge = _font(size, bold), size // 2
    width, height = pen.textlength(text, font), round(1.8 * size)
    top = 0 if corner[1] == 0 else corner[1] - height
    pen.rectangle((0, top, width + 2 * edge, top + height), BAND)
    pen.text((edge, top + height / 2), text, INK, font, anchor="lm")


def _lines(title: str, width: int, size: int) -> list[str]:
    """The parts of a title in as few lines as they have room in."""
    first, *parts = title.split(PARTED)
    lines = [first]
    for part in parts:
        longer = f"{lines[-1]}{PARTED}{part}"
        if _font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return [_fitting(line, width, size) for line in lines]


def _fitting(text: str, width: int, size: int) -> str:
    """The beginning of a text that has room."""
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
