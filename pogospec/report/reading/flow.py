"""flow.csv -> what was measured where a flow starts and where each Euler step ends, a value a seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pogospec.errors import RunDirectoryError
from pogospec.runs.columns import FLOW
from pogospec.runs.directory import RunDirectory
from pogospec.spec.known import PREFIX

COUNTERS = ("seed", "stage", "update", "total_update", "accepted")
MEASURED = tuple(name for name in FLOW if name not in (*COUNTERS, "flow_time"))
"""Columns that hold a number of a policy."""
START = "start"

Row = dict[str, str]


class Flow(NamedTuple):
    """Points are the start, where it was measured, and the ends of Euler steps; columns [points, seeds]."""

    labels: list[str]
    columns: dict[str, np.ndarray]  # NaN where a number is not known

    def known(self, name: str) -> bool:
        """Whether a column holds any number."""
        return bool(np.isfinite(self.columns[name]).any())

    def along_time(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Flow time [points] and a column [points, seeds].

        Where the step sizes of the seeds differ, the column is interpolated between the points of each seed, at the
        times of all seeds that every seed has reached.
        """
        times, values = self.columns["flow_time"], self.columns[name]
        whole = np.isfinite(times).all(1) & np.isfinite(values).all(1)
        times, values = times[whole], values[whole]
        if not len(times) or np.allclose(times, times[:, :1]):
            return times.mean(1), values
        grid = np.unique(times[(times >= times[0].max()) & (times <= times[-1].min())])
        pairs = zip(times.T, values.T, strict=True)
        return grid, np.stack([np.interp(grid, *pair) for pair in pairs], 1)


def is_target(run: RunDirectory) -> bool:
    """Whether a run is a flow on a known energy, without data."""
    return run.manifest["environment"] is None and run.manifest["dataset"].startswith(PREFIX)


def read_flow(run: RunDirectory) -> Flow:
    """The flow of a run; points that some seed has not reached are left out.

    A step that was taken back counts as what it was given up for: the numbers of the point before, without a step
    size. Raises RunDirectoryError.
    """
    count = run.manifest["seeds"]
    stages, rows = rows_of(run)
    reached = [stage for stage in stages if _is_over(run, stage, rows)]
    points: list[tuple[str, list[Row]]] = []
    first = [_first(rows.get((stages[0], seed), [])) for seed in range(count)] if stages else []
    if first and all(first):
        points.append((START, [dict(row, tau="") for row in first if row]))
    for stage in reached:
        ends = []
        for seed in range(count):
            own = rows.get((stage, seed), [])
            kept = [row for row in own if row["accepted"] != "0" and row["update"] != "0"]
            before = points[-1][1][seed] if points else {}
            given_up = before and any(row["accepted"] == "0" for row in own)
            ends.append(dict(before, tau="") if given_up and not _taken(own) else kept[-1] if kept else {})
        if all(ends):
            points.append((stage, ends))
    try:
        columns = {
            name: np.array([[float(row.get(name) or "nan") for row in ends] for _, ends in points]).reshape(-1, count)
            for name in ("flow_time", *MEASURED)
        }
    except ValueError as error:
        raise RunDirectoryError(f"{run.path / 'flow.csv'} is damaged: {error}") from None
    return Flow([label for label, _ in points], columns)


def rows_of(run: RunDirectory) -> tuple[list[str], dict[tuple[str, int], list[Row]]]:
    """Stages in the order of training, and the rows of each stage and seed."""
    stages: dict[str, None] = {}
    found: dict[tuple[str, int], list[Row]] = {}
    if not (run.path / "flow.csv").is_file():
        raise RunDirectoryError(f"{run.path} has no flow.csv, which older versions did not write; run its spec again")
    try:
        for row in run.read("flow.csv"):
            stages.setdefault(row["stage"])
            found.setdefault((row["stage"], int(row["seed"])), []).append(row)
    except (KeyError, ValueError) as error:
        raise RunDirectoryError(f"{run.path / 'flow.csv'} is damaged: {error}") from None
    return list(stages), found


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows and rows[0]["update"] == "0" else None


def _taken(rows: list[Row]) -> bool:
    return any(row["accepted"] == "1" for row in rows)


def _is_over(run: RunDirectory, stage: str, rows: dict[tuple[str, int], list[Row]]) -> bool:
    """Whether a step has ended: its policy is saved, or updates of later steps were measured."""
    last = {own: max(int(row["total_update"]) for row in found) for (own, _), found in rows.items()}
    return stage in run.policies() or run.status()["state"] == "done" or last[stage] < max(last.values())


def picked(count: int, most: int) -> list[int]:
    """The first, the last and evenly spaced ones between them, at most so many of `count`."""
    return [int(i) for i in np.unique(np.round(np.linspace(0, count - 1, min(count, most))))] if count else []
