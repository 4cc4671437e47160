"""Standard errors and intervals from resampled estimates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Estimate(NamedTuple):
    """An estimate with its standard error and its interval."""

    value: float
    error: float
    low: float
    high: float


def estimate(values: np.ndarray, freedom: int, level: float, gap: float = 0.0) -> Estimate:
    """The first of the values [1 + resamples], its error and the Student interval about it.

    The error is the standard deviation of the others, joined with `gap`, which no resample shows. `freedom`: resampled
    groups less those within which they are drawn.
    """
    centre, error = float(values[0]), float(np.sqrt(np.var(values[1:], ddof=1) + gap**2))
    half = float(stdtrit(max(freedom, 1), (1 + level) / 2)) * error
    return Estimate(centre, error, centre - half, centre + half)
