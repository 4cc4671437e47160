"""What all pictures share: their width, the files that they go into, the look of axes, a legend below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pogospec.errors import UsageError
from pogospec.spec.sweep import value_text
from pogospec.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
WIDTH, DPI = 6.5, 140
"""A picture of 910 pixels, as wide as a README shows it."""
CHARACTERS = 82
"""Of the legend's font, side by side in the width of a picture."""
BAND = 0.16
"""Opacity of a standard deviation."""


class Look(NamedTuple):
    """What a picture is given beside what it shows; None: as it is drawn."""

    title: str | None = None
    size: tuple[float, float] | None = None  # width and height in inches
    dpi: int | None = None  # of PNG
    y_label: str | None = None
    x_label: str | None = None

    def adorn(self, picture: Figure) -> Figure:
        """Give a picture its title, size and names of axes; an empty title takes the one that it has."""
        if self.title is not None and len(picture.axes) > 1:
            picture.suptitle(textwrap.fill(self.title, 84), fontsize=10)
        elif self.title is not None:
            picture.axes[0].set_title(textwrap.fill(self.title, 72), fontsize=10)
        for axes in picture.axes:
            for name, text in (("y", self.y_label), ("x", self.x_label)):
                if text is not None and getattr(axes, f"get_{name}label")():
                    getattr(axes, f"set_{name}label")(text)
        if self.size is not None:
            picture.set_size_inches(*self.size)
        return picture


PLAIN = Look()
LARGEST, DPIS = 40.0, (30, 1200)
"""Inches of a picture, and the least and most dots of an inch."""


def look_of(
    title: str | None = None,
    size: tuple[float, float] | None = None,
    dpi: int | None = None,
    y_label: str | None = None,
    x_label: str | None = None,
) -> Look:
    """A look whose numbers can be drawn; raises UsageError."""
    if size is not None and not (len(size) == 2 and all(1 <= side <= LARGEST for side in size)):
        found = " x ".join(f"{side:g}" for side in size)
        raise UsageError(f"--size: found {found}, allowed width and height in inches, from 1 to {LARGEST:g}")
    if dpi is not None and not DPIS[0] <= dpi <= DPIS[1]:
        raise UsageError(f"--dpi: found {dpi}, allowed {DPIS[0]} to {DPIS[1]}")
    return Look(title, size, dpi, y_label, x_label)


def check_file(path: Path) -> None:
    """Refuse files of another format than png, svg and pdf."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: found suffix '{path.suffix}', allowed {', '.join(FORMATS)}")


def write(picture: Figure, path: Path, look: Look = PLAIN) -> Path:
    """Write a picture into a file, whose suffix is png, svg or pdf."""
    check_file(path)
    as_written(look.adorn(picture))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.savefig(path, dpi=look.dpi or DPI)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; choose another file") from None
    return path


def as_written(picture: Figure) -> Figure:
    """Let all text but the numbers of axes stand as it is; Matplotlib takes what is between dollars for mathematics."""
    texts = [*picture.texts, *(text for legend in picture.legends for text in legend.get_texts())]
    for axes in picture.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    for text in texts:
        text.set_text(plain(text.get_text()))
        text.set_parse_math(False)
    return picture


def tick(value: Any) -> str:
    """What stands at a value of an axis, which Matplotlib reads when it draws."""
    return plain(value_text(value)).replace("$", r"\$")


def columns_of(count: int) -> int:
    """How many panels lie side by side."""
    return 1 if count == 1 else 2 if count in (2, 4) else 3


def panels(count: int, height: float, across: int | None = None, **options: Any) -> tuple[Figure, list[Axes]]:
    """A picture of so many panels, each so many inches high."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = across or columns_of(count)
    down = -(-count // across)
    picture = Figure((WIDTH, height * down + 0.5), layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.05))
    axes = picture.subplots(down, across, squeeze=False, **options).ravel().tolist()
    for one in axes[count:]:
        one.remove()
    return picture, axes[:count]


def tidy(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names of the axes, a light grid, no frame."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    if title:
        axes.set_title(title, fontsize=9)
    axes.tick_params(which="both", labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def head(picture: Figure, text: str) -> None:
    """The title of a picture."""
    picture.suptitle(fold(text, 84), fontsize=10)


def fold(text: str, width: int) -> str:
    """Break into as few lines as a width allows, all about as long."""
    lines = len(textwrap.wrap(text, width))
    return next(
        folded for folded in (textwrap.fill(text, n) for n in range(1, width + 1)) if folded.count("\n") < lines
    )


def legend_below(picture: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, an entry for each label; the picture grows by it."""
    lines = legend(picture, list({handle.get_label(): handle for handle in handles}.values()))
    picture.set_figheight(picture.get_figheight() + 0.2 * lines)


def legend(picture: Figure, handles: Sequence[Any]) -> int:
    """A legend below all panels, in as many columns as fit; returns its lines."""
    texts = [textwrap.fill(handle.get_label(), CHARACTERS - 6) for handle in handles]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    across = max(1, min(5, len(texts), CHARACTERS // (longest + 6)))
    picture.legend(
        list(handles),
        texts,
        loc="outside lower center",
        ncols=across,
        fontsize=9,
        frameon=False,
        handlelength=2.6,
    )
    return -(-sum(1 + text.count("\n") for text in texts) // across)


def draw_mean(axes: Axes, x: np.ndarray, values: np.ndarray, color: str, positive: bool = False, **style: Any) -> None:
    """Mean and std over seeds of values [points, seeds]; `positive`: what a logarithmic axis can show of the band."""
    mean = values.mean(1)
    axes.plot(x, mean, color=color, **style)
    if values.shape[1] > 1:
        std = values.std(1, ddof=1)
        low = np.maximum(mean - std, mean / 100) if positive else mean - std
        axes.fill_between(x, low, mean + std, color=color, alpha=BAND, linewidth=0)
