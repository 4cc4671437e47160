"""ope.csv -> what policies are worth by the data alone, a value a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pogospec.errors import RunDirectoryError
from pogospec.report.statistics import std
from pogospec.runs import estimates
from pogospec.runs.directory import RunDirectory, order
from pogospec.runs.manifest import numbers_of

SAME = ("discount", "rewards", "action")
"""What decides which number is estimated; the other columns say how."""
NUMBERS = ("value", "error", "low", "high", "plain", "gain", "gain_error", "effective")


class Estimated(NamedTuple):
    """One policy: columns [seeds], NaN where a number is not known."""

    columns: dict[str, np.ndarray]
    asked: dict[str, str]

    @property
    def values(self) -> np.ndarray:
        """The estimates."""
        return self.columns["value"]

    @property
    def bounds(self) -> np.ndarray:
        """Lower and upper ends of the intervals, [2, seeds]."""
        return np.stack([self.columns["low"], self.columns["high"]])


def estimated(run: RunDirectory, estimator: str = "fqe") -> dict[str, Estimated]:
    """Policies in the order of training, with the newest estimates of all their seeds.

    Those of another discount, other rewards or another way of acting than the newest are left out, as older ones.
    """
    rows = [row for row in estimates.read(run) if row["estimator"] == estimator]
    if not rows:
        return {}
    newest = [rows[-1].get(name) for name in SAME]
    own = {
        (row["policy"], int(row["seed"])): row for row in rows if [row.get(name) for name in SAME] == newest
    }  # the last one stands
    seeds, found = numbers_of(run.manifest), {}
    try:
        for policy in sorted({policy for policy, _ in own}, key=order):
            mine = [own.get((policy, seed)) for seed in seeds]
            whole = [row for row in mine if row is not None]
            if len(whole) == len(seeds):
                columns = {name: np.array([float(row.get(name) or "nan") for row in whole]) for name in NUMBERS}
                found[policy] = Estimated(columns, whole[0])
    except ValueError as error:
        raise RunDirectoryError(f"{run.path / estimates.NAME} is damaged: {error}") from None
    return found


def what(asked: dict[str, str]) -> str:
    """What a row of ope.csv estimates, in words."""
    discount, rewards = asked["discount"], asked["rewards"]
    acting = {"mean": "acting by the mean", "sample": "acting by samples"}.get(asked.get("action", ""), "")
    return (
        f"discounted value E[Σ_t {float(discount):g}^t r_t] from the first observations of "
        f"{int(asked['episodes']):,} logged episodes on, rewards {rewards}, {acting}; no return and no score"
    )


def decimals(errors: np.ndarray) -> int:
    """Decimals with which numbers are shown that are known to such errors: two digits of the error."""
    known = errors[np.isfinite(errors) & (errors > 0)]
    return int(np.clip(1 - np.floor(np.log10(np.median(known))), 0, 8)) if len(known) else 2


def spread_of(values: np.ndarray, places: int) -> str:
    """Mean ± std over seeds; the mean alone for one seed."""
    deviation = std(values)
    centre = f"{values.mean():.{places}f}"
    return centre if deviation is None else f"{centre} ± {deviation:.{places}f}"


def bounds_of(bounds: np.ndarray, places: int) -> str:
    """The means over seeds of the ends of intervals [2, seeds]."""
    low, high = bounds.mean(1)
    return f"[{low:.{places}f}, {high:.{places}f}]"
