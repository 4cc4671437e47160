"""What a run recorded -> series over updates or seconds, a value a seed at each point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pogospec.errors import RunDirectoryError
from pogospec.report.scores import curves, normalised
from pogospec.runs import METRICS, RunDirectory

COUNTERS = ("seed", "stage", "update", "total_update", "seconds")
EVALUATED = ("score", "return")


class Series(NamedTuple):
    """One Euler step (or warm-up) of a run: x [points], values [points, seeds]."""

    label: str
    x: np.ndarray
    values: np.ndarray


def series(run: RunDirectory, y: str = "score", x: str = "updates") -> list[Series]:
    """The steps of a run in the order of training; `y` is score, return or a column of metrics.csv."""
    if y in EVALUATED:
        found = {policy: points for policy, points in curves(run).items() if policy != "behavior" and points}
        found = {policy: {n: _scaled(run, y, r) for n, r in points.items()} for policy, points in found.items()}
    else:
        found = _metric(run, y)
    clock = _clock(run) if x == "seconds" and found else None
    result = []
    for label, points in found.items():
        totals = np.array(list(points), float)
        at = totals if clock is None else np.interp(totals, *clock)
        result.append(Series(label, at, np.stack(list(points.values()))))
    return result


def behavior(run: RunDirectory, y: str = "score") -> np.ndarray | None:
    """Last evaluation of the fitted behaviour [seeds]; None where there is none."""
    points = curves(run).get("behavior") if y in EVALUATED else None
    return _scaled(run, y, points[max(points)]) if points else None


def columns(run: RunDirectory) -> list[str]:
    """What can be drawn of a run: score, return and the metrics that it recorded."""
    rows = run.read("metrics.csv")
    recorded = [name for name in (rows[0] if rows else ()) if name not in COUNTERS and any(row[name] for row in rows)]
    return [*EVALUATED, *recorded]


def meaning(name: str) -> str:
    """What a column of metrics.csv holds."""
    if name.startswith("energy."):
        return f"{name.removeprefix('energy.')}, weighted term of the energy"
    return f"{name.replace('_', ' ')}: {METRICS[name]}" if name in METRICS else name


def _scaled(run: RunDirectory, y: str, returns: np.ndarray) -> np.ndarray:
    scores = normalised(run, returns) if y == "score" else None
    return returns if scores is None else scores


def _metric(run: RunDirectory, name: str) -> dict[str, dict[int, np.ndarray]]:
    """Stage -> total updates -> value of each seed; points that some seed lacks are left out."""
    found: dict[str, dict[int, dict[int, float]]] = {}
    try:
        for row in run.read("metrics.csv"):
            if row.get(name):
                points = found.setdefault(row["stage"], {})
                points.setdefault(int(row["total_update"]), {})[int(row["seed"])] = float(row[name])
    except (KeyError, ValueError) as error:
        raise RunDirectoryError(f"{run.path / 'metrics.csv'} is damaged: {error}") from None
    count = run.manifest["seeds"]
    whole = {
        stage: {
            total: np.array([seeds[seed] for seed in sorted(seeds)])
            for total, seeds in sorted(points.items())
            if len(seeds) == count
        }
        for stage, points in found.items()
    }
    return {stage: points for stage, points in whole.items() if points}


def _clock(run: RunDirectory) -> tuple[np.ndarray, np.ndarray]:
    """Total updates and the seconds that training took until then; all seeds advance in one chunk."""
    try:
        chunks = {int(row["total_update"]): float(row["seconds"]) for row in run.read("metrics.csv")}
    except (KeyError, ValueError) as error:
        raise RunDirectoryError(f"{run.path / 'metrics.csv'} is damaged: {error}") from None
    if not chunks:
        raise RunDirectoryError(f"{run.path / 'metrics.csv'} holds no chunk of updates, so there are no seconds")
    totals = np.array([0, *sorted(chunks)], float)
    return totals, np.cumsum([0.0, *(chunks[total] for total in sorted(chunks))])
