"""What a run recorded -> series over updates, seconds or flow time, a value a seed at each point.

Columns of flow.csv go by their names; where metrics.csv has the same, that of flow.csv is `flow.NAME`, but over flow
time, where all is what it was at the ends of the steps, and that of flow.csv is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pogospec.errors import RunDirectoryError
from pogospec.report.reading.flow import MEASURED, along, read_flow, rows_in, rows_of
from pogospec.report.reading.scores import curves, normalised
from pogospec.runs.columns import FLOW, LAST, METRICS
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of

COUNTERS = ("seed", "stage", "update", "total_update", "seconds")
EVALUATED = ("score", "return")
OF_POLICY = ("energy", "entropy", "start_distance", "kl_optimum", "w2_optimum")
"""Columns of flow.csv that go on where a step begins, since they do not depend on its reference."""
LABEL = "flow"
PREFIX = "flow."


class Series(NamedTuple):
    """One Euler step (or warm-up) of a run: x [points], values [points, seeds]."""

    label: str
    x: np.ndarray
    values: np.ndarray


def series(run: RunDirectory, y: str = "score", x: str = "updates") -> list[Series]:
    """The steps of a run in the order of training; `y` is one of `columns`. Over flow time the whole run is one."""
    if x == "flow_time":
        times, values = _along_time(run, y)
        return [Series(LABEL, times, values)] if len(times) else []
    if y in EVALUATED:
        found = _evaluated(run, y)
    elif y in _recorded(run):
        found = _metric(run, y)
    else:
        found = _measured(run, y.removeprefix(PREFIX))
    times = clock(run) if x == "seconds" and found else None
    result = []
    for label, points in found.items():
        totals = np.array(list(points), float)
        at = totals if times is None else np.interp(totals, *times)
        result.append(Series(label, at, np.stack(list(points.values()))))
    return result


def _evaluated(run: RunDirectory, y: str) -> dict[str, dict[int, np.ndarray]]:
    """Policy -> total updates -> score or return of each seed; not of the behaviour."""
    ours = {policy: points for policy, points in curves(run).items() if policy.removesuffix(LAST) != "behavior"}
    return {policy: {n: _scaled(run, y, r) for n, r in points.items()} for policy, points in ours.items() if points}


def _along_time(run: RunDirectory, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Flow time [points] and values [points, seeds] at the ends of the steps whose flow time is known."""
    flow, name = read_flow(run), y.removeprefix(PREFIX)
    if name in flow.columns:
        return flow.along_time(name)
    found = _evaluated(run, y) if y in EVALUATED else _metric(run, y)
    ends = [(place, found[label]) for place, label in enumerate(flow.labels) if label in found]
    times = flow.columns["flow_time"][[place for place, _ in ends]]
    values = [points[max(points)] for _, points in ends]
    return along(times, np.reshape(values, times.shape))


def goes_on(y: str) -> bool:
    """Whether a quantity of a policy does not jump where a step begins from its weights."""
    return y in EVALUATED or y.removeprefix(PREFIX) in OF_POLICY and (y.startswith(PREFIX) or y not in METRICS)


def before(steps: Sequence[Series], one: Series) -> Series | None:
    """The step before one, with the weights that it left: averaged ones where some are."""
    left = [step for step in steps if not step.label.endswith(LAST)]
    number = [step.label for step in left].index(one.label.removesuffix(LAST)) if left else 0
    return left[number - 1] if number else None


def behavior(run: RunDirectory, y: str = "score") -> np.ndarray | None:
    """Last evaluation of the fitted behaviour [seeds]; None where there is none."""
    points = curves(run).get("behavior") if y in EVALUATED else None
    return _scaled(run, y, points[max(points)]) if points else None


def columns(run: RunDirectory, x: str = "updates") -> list[str]:
    """What can be drawn of a run: score, return, the metrics that it recorded, and the columns of its flow.csv."""
    flow = _flow_columns(run)
    recorded = _recorded(run)
    if x == "flow_time":
        evaluated = [name for name in EVALUATED if flow and _evaluated(run, name)]
        return [*flow, *evaluated, *(name for name in recorded if flow and name not in FLOW)]
    return [*EVALUATED, *recorded, *(f"{PREFIX}{name}" if name in recorded else name for name in flow)]


def _recorded(run: RunDirectory) -> list[str]:
    rows = rows_in(run, "metrics.csv")
    return [name for name in (rows[0] if rows else ()) if name not in COUNTERS and any(row[name] for row in rows)]


def _flow_columns(run: RunDirectory) -> list[str]:
    if not (run.path / "flow.csv").is_file():  # runs of versions that measured no flow
        return []
    rows = rows_in(run, "flow.csv")
    return [name for name in MEASURED if any(row.get(name) for row in rows)]


def meaning(name: str, x: str = "updates") -> str:
    """What a column of metrics.csv or flow.csv holds."""
    if name.startswith("energy."):
        return f"{name.removeprefix('energy.')}, weighted term of the energy"
    bare = name.removeprefix(PREFIX)
    texts = FLOW if bare != name or x == "flow_time" or name not in METRICS else METRICS
    return f"{bare.replace('_', ' ')}: {texts[bare]}" if bare in texts else name


def _scaled(run: RunDirectory, y: str, returns: np.ndarray) -> np.ndarray:
    scores = normalised(run, returns) if y == "score" else None
    return returns if scores is None else scores


def _metric(run: RunDirectory, name: str) -> dict[str, dict[int, np.ndarray]]:
    """Stage -> total updates -> value of each seed; points that some seed lacks are left out."""
    found: dict[str, dict[int, dict[int, float]]] = {}
    try:
        for row in rows_in(run, "metrics.csv"):
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


def _measured(run: RunDirectory, name: str) -> dict[str, dict[int, np.ndarray]]:
    """Stage -> total updates -> value of each seed: within the stage where all seeds were measured, and at its end.

    A seed that tries its step size again ends later than others; the end is where the last one ends.
    """
    flow, (stages, rows), seeds = read_flow(run), rows_of(run), numbers_of(run.manifest)
    found: dict[str, dict[int, np.ndarray]] = {}
    for number, stage in enumerate(stages):
        points: dict[int, dict[int, float]] = {}
        totals = [0]
        for seed in seeds:
            for row in rows.get((stage, seed), []):
                totals.append(int(row["total_update"]))
                if row.get(name) and not row["accepted"] and (row["update"] != "0" or number == 0):
                    points.setdefault(totals[-1], {})[seed] = float(row[name])
        whole = {n: np.array([own[seed] for seed in seeds]) for n, own in points.items() if len(own) == len(seeds)}
        if stage in flow.labels:
            end = flow.columns[name][flow.labels.index(stage)]
            whole |= {max(totals): end} if np.isfinite(end).all() else {}
        if whole:
            found[stage] = dict(sorted(whole.items()))
    return found


def clock(run: RunDirectory) -> tuple[np.ndarray, np.ndarray]:
    """Total updates and the seconds that training took until then; all seeds advance in one chunk."""
    try:
        chunks = {int(row["total_update"]): float(row["seconds"]) for row in rows_in(run, "metrics.csv")}
    except (KeyError, ValueError) as error:
        raise RunDirectoryError(f"{run.path / 'metrics.csv'} is damaged: {error}") from None
    if not chunks:
        raise RunDirectoryError(f"{run.path / 'metrics.csv'} holds no chunk of updates, so there are no seconds")
    totals = np.array([0, *sorted(chunks)], float)
    return totals, np.cumsum([0.0, *(chunks[total] for total in sorted(chunks))])
