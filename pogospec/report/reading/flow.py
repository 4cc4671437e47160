"""flow.csv -> what was measured where a flow starts and where each Euler step ends, a value a seed."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pogospec import registry
from pogospec.errors import RunDirectoryError
from pogospec.runs.columns import FLOW
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of
from pogospec.spec.known import PREFIX
from pogospec.spec.yaml import plain_of, read_tree
from pogospec.text import with_error

COUNTERS = ("seed", "stage", "update", "total_update", "accepted")
MEASURED = tuple(name for name in FLOW if name not in (*COUNTERS, "flow_time"))
"""Columns that hold a number of a policy."""
START = "start"
OF_STEP = ("tau", "local_error", "violated", "gain", "gain_error", "bound")
"""Columns that say something of a step which was taken, not of its policy."""
MOST_TOLD = 5
"""Steps in which the proximal inequality failed that are told one by one."""
ERRORS, ROUNDING = 3.0, 1e-5
"""Standard errors, and relative roundings, by which an energy must lie above the first."""

Row = dict[str, str]


class Flow(NamedTuple):
    """Points are the start, where it was measured, and the ends of Euler steps; columns [points, seeds]."""

    labels: list[str]
    columns: dict[str, np.ndarray]  # NaN where a number is not known

    def known(self, name: str) -> bool:
        """Whether a column holds any number."""
        return bool(np.isfinite(self.columns[name]).any())

    def along_time(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Flow time [points] and a column [points, seeds]; see `along`."""
        return along(self.columns["flow_time"], self.columns[name])


def along(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow time [points] and values [points, seeds], of those that all seeds have.

    Where the step sizes of the seeds differ, values are interpolated between the points of each seed, at the times of
    all seeds that every seed has reached.
    """
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
    size; so does one that a seed did not take, since its flow time was reached. Raises RunDirectoryError.
    """
    seeds = numbers_of(run.manifest)
    count = len(seeds)
    stages, rows = rows_of(run)
    reached = [stage for stage in stages if _is_over(run, stage, rows)]
    points: list[tuple[str, list[Row]]] = []
    first = [_first(rows.get((stages[0], seed), [])) for seed in seeds] if stages else []
    if first and all(first):
        points.append((START, [dict(row, tau="") for row in first if row]))
    for stage in reached:
        ends = []
        for place, seed in enumerate(seeds):
            own = rows.get((stage, seed), [])
            ended = [row for row in own if row["update"] != "0"]
            kept = [row for row in ended if row["accepted"] != "0"]
            before = points[-1][1][place] if points else {}
            given_up = before and (not ended or any(row["accepted"] == "0" for row in own))
            stayed = dict(before, **dict.fromkeys(OF_STEP, ""))
            ends.append(stayed if given_up and not _taken(own) else kept[-1] if kept else {})
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


def troubles(run: RunDirectory) -> list[str]:
    """What a reader should know of a flow: steps that were not taken, that broke the inequality, a flow that rose.

    Empty where the run measured no flow, as older versions did not. Raises RunDirectoryError where it is damaged.
    """
    if not (run.path / "flow.csv").is_file():
        return []
    flow = read_flow(run)
    return [
        *refusals(run),
        *_violations(flow, _way_out(run)),
        *(_end(flow, _one_energy(run)) if is_target(run) else ()),
    ]


def _one_energy(run: RunDirectory) -> bool:
    steps = plain_of(read_tree(run.path / "spec.yaml"))["schedule"]["steps"]
    return all(step["energy"] == steps[0]["energy"] for step in steps)


def _way_out(run: RunDirectory) -> str:
    """What to do about steps that break the proximal inequality; those in closed form have no updates to add."""
    steps = plain_of(read_tree(run.path / "spec.yaml"))["schedule"]["steps"] if is_target(run) else []
    known = registry.table("scheme")
    kinds = {(step.get("scheme") or {}).get("kind") for step in steps}
    if kinds and all(kind in known and registry.load("scheme", kind).closed for kind in kinds):
        return "the step was too long: a smaller tau, or more points"
    return "the step was not solved: more updates, a smaller learning rate or tau"


def refusals(run: RunDirectory) -> list[str]:
    """A sentence for each step that its judge did not take in some seed, of many the first.

    Raises RunDirectoryError where flow.csv is damaged.
    """
    if not (run.path / "flow.csv").is_file():
        return []
    seeds, (stages, rows) = numbers_of(run.manifest), rows_of(run)
    refused: dict[str, list[str]] = {}
    for label in (stage for stage in stages if _is_over(run, stage, rows)):
        for seed in seeds:
            own = [row for row in rows.get((label, seed), []) if row["accepted"] and row.get("gain")]
            if own and not _taken(own):
                gain, error = float(own[-1]["gain"]), float(own[-1]["gain_error"] or "nan")
                refused.setdefault(label, []).append(f"{with_error(gain, error)} in seed {seed}")
    told = []
    for label, found in [*refused.items()][:MOST_TOLD]:
        listed = ", ".join(found[:MOST_TOLD]) + (", …" if len(found) > MOST_TOLD else "")
        several = f" in {len(found)} of {len(seeds)} seeds" if len(seeds) > 1 else ""
        told.append(f"{label}: not taken{several}, so that the policy stays: its judge finds a gain of {listed}")
    more = len(refused) - MOST_TOLD
    return [*told, *([f"not taken are {more} further steps: accepted of flow.csv"] if more > 0 else [])]


def _violations(flow: Flow, way_out: str) -> Iterator[str]:
    """A sentence for each step in which the proximal inequality failed beyond its error, of many the first.

    `way_out`: why that is, and what to do.
    """
    columns = flow.columns
    failed = [place for place in range(len(flow.labels)) if (columns["violated"][place] == 1).any()]
    for place in failed[:MOST_TOLD]:
        gap, error = columns["gap"][place], columns["gap_error"][place]
        seeds = np.flatnonzero(columns["violated"][place] == 1)
        worst = seeds[gap[seeds].argmax()]
        several = len(gap) > 1
        of = f" in {len(seeds)} of {len(gap)} seeds, by up to" if several else " by"
        beyond = f" ± {error[worst]:.2g}" if error[worst] > 0 else ""
        yield (
            f"{flow.labels[place]}: the proximal inequality fails: E[π] + D/tau is above E[reference]{of} "
            f"{gap[worst]:.3g}{beyond}; {way_out}"
        )
    if len(failed) > MOST_TOLD:
        yield f"the proximal inequality fails in {len(failed) - MOST_TOLD} further steps: violated of flow.csv"


def _end(flow: Flow, one: bool) -> Iterator[str]:
    """What is wrong with the end of a flow on a known energy: numbers that are none, or an energy above the first.

    `one`: whether all steps minimise one energy.
    """
    if len(flow.labels) < 2:
        return
    energy, error = flow.columns["energy"], flow.columns["gap_error"][-1]
    seeds = energy.shape[1]
    lost = np.flatnonzero(~np.isfinite(energy[-1]))
    if len(lost):
        yield f"the flow ends without a finite energy in {len(lost)} of {seeds} seeds: its policies mean nothing"
    rise = energy[-1] - energy[0] if one else np.zeros(seeds)
    rounding = ROUNDING * np.maximum(np.abs(energy[0]), np.abs(energy[-1]))
    risen = np.flatnonzero(rise > np.maximum(ERRORS * np.nan_to_num(error), rounding))
    if len(risen):
        worst = risen[rise[risen].argmax()]
        yield (
            f"the flow has diverged in {len(risen)} of {seeds} seeds: its energy is {energy[-1][worst]:.4g} at the end "
            f"and was {energy[0][worst]:.4g} at the start; a smaller tau or learning rate, or more updates"
        )


def rows_in(run: RunDirectory, name: str) -> list[Row]:
    """Rows of metrics.csv or flow.csv, read once for all that is asked of a run in a row; not to be changed."""
    path = run.path / name
    try:
        about = path.stat()
    except OSError:
        return run.read(name)  # which says what is wrong
    return _rows(path, about.st_mtime_ns, about.st_size)


@functools.lru_cache(maxsize=16)
def _rows(path: Path, _changed: int, _size: int) -> list[Row]:
    return RunDirectory(path.parent).read(path.name)


def rows_of(run: RunDirectory) -> tuple[list[str], dict[tuple[str, int], list[Row]]]:
    """Stages in the order of training, and the rows of each stage and seed."""
    stages: dict[str, None] = {}
    found: dict[tuple[str, int], list[Row]] = {}
    if not (run.path / "flow.csv").is_file():
        raise RunDirectoryError(f"{run.path} has no flow.csv, which older versions did not write; run its spec again")
    try:
        for row in rows_in(run, "flow.csv"):
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
    return stage in run.saved() or run.status()["state"] == "done" or last[stage] < max(last.values())


def picked(count: int, most: int) -> list[int]:
    """The first, the last and evenly spaced ones between them, at most so many of `count`."""
    return [int(i) for i in np.unique(np.round(np.linspace(0, count - 1, min(count, most))))] if count else []
