"""Explicit steps of a run whose weights cannot be trusted, from what flow.csv holds of them."""

from __future__ import annotations

import numpy as np

from pogospec.checking.check import load
from pogospec.errors import PogospecError
from pogospec.explain.stages import Stage, stages
from pogospec.report.reading.flow import Row, rows_of
from pogospec.runs.directory import RunDirectory
from pogospec.steps.explicit import Explicit, Hermite

FEW, COARSE = 8.0, 2.0
"""Least points that must count: samples, whose bias is about 1/n of the step; nodes of a grid."""
CLIPPED = 0.01
"""Largest share that a clip may take away without a word."""


def unhealthy(run: RunDirectory) -> list[str]:
    """A sentence for each way in which weights of explicit steps were not healthy at the end of their step."""
    try:
        plan = [one for one in stages(load(run.path / "spec.yaml")) if isinstance(one.step.scheme, Explicit)]
        rows = rows_of(run)[1] if plan else {}
    except PogospecError:
        return []
    few: list[tuple[str, float]] = []
    clipped: list[tuple[str, float]] = []
    for stage in plan:
        ends = [own[-1] for (label, _), own in rows.items() if label == stage.label]
        count, share = _mean(ends, "effective_samples"), _mean(ends, "clipped")
        few += [(stage.label, count)] if count < _least(stage) else []
        clipped += [(stage.label, share)] if share > CLIPPED else []
    found = []
    if few:
        label, count = min(few, key=lambda pair: pair[1])
        found.append(
            f"{_named(label, few)}: the weights of the explicit step rest on {count:.2g} points (effective_samples of "
            f"flow.csv), so that it is off by about 1/{count:.2g} of what it changes; scheme.split: 0.5, more points, "
            "or a smaller tau"
        )
    if clipped:
        label, share = max(clipped, key=lambda pair: pair[1])
        found.append(
            f"{_named(label, clipped)}: clip bears on {100 * share:.2g}% of the weights (clipped of flow.csv), so that "
            "the step is another one; a larger scheme.clip, or a smaller tau"
        )
    return found


def _least(stage: Stage) -> float:
    return COARSE if isinstance(getattr(stage.step.scheme, "points", None), Hermite) else FEW


def _mean(rows: list[Row], name: str) -> float:
    """The mean of a column over seeds; NaN, which compares with nothing, where it is empty."""
    values = [float(row[name]) for row in rows if row.get(name)]
    return float(np.mean(values)) if values else float("nan")


def _named(label: str, found: list[tuple[str, float]]) -> str:
    return label if len(found) == 1 else f"{label}, the worst of {len(found)} steps"
