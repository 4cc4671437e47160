"""The expected best of k trials, against how many policies are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pogospec.report.figures.canvas import BAND, head, panels, tidy
from pogospec.report.figures.styles import COLORS
from pogospec.tuning.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(found: Results) -> Figure:
    """A picture of the curve, its std as a band."""
    curve = found.expected
    k, mean, spread = (np.array([point[name] for point in curve]) for name in ("k", "mean", "std"))
    picture, (axes,) = panels(1, 3.0)
    axes.fill_between(k, mean - spread, mean + spread, color=COLORS[0], alpha=BAND, linewidth=0)
    axes.plot(k, mean, color=COLORS[0], linewidth=1.6)
    unit = "score in rollouts" if found.by == "fqe" else found.unit
    tidy(axes, "policies that are tried, k", f"expected best {unit}")
    title = f"best of k of {len(curve)} trials drawn at random, mean ± std"
    head(picture, title + (f"; {found.episodes:,} episodes rolled out" if found.episodes else ""))
    return picture
