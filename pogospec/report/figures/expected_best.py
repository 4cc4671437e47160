"""The expected best of k trials of a search, against how many are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pogospec.report.figures.canvas import BAND, head, panels, tidy
from pogospec.report.figures.styles import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def expected_best_figure(curve: Sequence[Mapping[str, float]], unit: str, title: str) -> Figure:
    """A picture of points with `k`, `mean` and `std`, the std as a band; `unit`: what the mean is of."""
    k, mean, spread = (np.array([point[name] for point in curve]) for name in ("k", "mean", "std"))
    picture, (axes,) = panels(1, 3.0)
    axes.fill_between(k, mean - spread, mean + spread, color=COLORS[0], alpha=BAND, linewidth=0)
    axes.plot(k, mean, color=COLORS[0], linewidth=1.6)
    tidy(axes, "policies that are tried, k", f"expected best {unit}")
    head(picture, title)
    return picture
