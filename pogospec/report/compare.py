"""Run directories -> a table over seeds; reads files only.

The seed is the unit of replication: episodes of one seed are averaged first. The std has ddof 1; returns
become scores by the reference range.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pogospec.runs import RunDirectory


class Cell(NamedTuple):
    """Final scores of one policy of a run, a number a seed."""

    scores: np.ndarray
    total_update: int

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(self.scores.mean())

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds, ddof 1; None for one seed."""
        return float(self.scores.std(ddof=1)) if len(self.scores) > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f}"


def curves(run: RunDirectory) -> dict[str, dict[int, np.ndarray]]:
    """Policy -> total updates -> score of each seed (raw mean returns where no reference is known)."""
    returns: dict[tuple[str, int, int], list[float]] = {}
    for row in run.read("returns.csv"):
        key = (row["policy"], int(row["total_update"]), int(row["seed"]))
        returns.setdefault(key, []).append(float(row["return"]))
    reference = run.manifest["reference"]
    found: dict[str, dict[int, dict[int, float]]] = {}
    for (policy, total, seed), values in returns.items():
        mean = float(np.mean(values))
        if reference is not None:
            mean = 100 * (mean - reference["low"]) / (reference["high"] - reference["low"])
        found.setdefault(policy, {}).setdefault(total, {})[seed] = mean
    return {
        policy: {total: np.array([seeds[s] for s in sorted(seeds)]) for total, seeds in sorted(points.items())}
        for policy, points in found.items()
    }


def final(run: RunDirectory) -> dict[str, Cell]:
    """The last evaluation of the behaviour and of each Euler step, in that order."""
    cells = {}
    for policy, points in curves(run).items():
        total = max(points)
        cells[policy] = Cell(points[total], total)
    return dict(sorted(cells.items(), key=lambda item: (item[0] != "behavior", item[0])))


class Difference(NamedTuple):
    """A paired difference over seeds, with the standard error of its mean."""

    name: str
    mean: float
    error: float


def differences(cells: dict[str, Cell]) -> list[Difference]:
    """Later minus earlier policies, seed by seed; none for a single seed."""
    names, found = list(cells), []
    for j, late in enumerate(names):
        for early in names[:j]:
            a, b = cells[late].scores, cells[early].scores
            if len(a) == len(b) > 1:
                gap = a - b
                found.append(
                    Difference(f"{late} - {early}", float(gap.mean()), float(gap.std(ddof=1) / math.sqrt(len(gap))))
                )
    return found


def warnings(runs: Sequence[RunDirectory]) -> list[str]:
    """What makes runs hard to compare."""
    found = []
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_dataset.setdefault(run.manifest["dataset"], []).append(run.manifest)
        state = run.status()["state"]
        if state != "done":
            found.append(f"{run.path} is {state}, not done: its numbers are not final")
    for dataset, manifests in by_dataset.items():
        for key, name in (
            ("data_sha256", "data"),
            ("environment", "environments"),
            ("episodes", "numbers of episodes"),
        ):
            if len({str(m[key]) for m in manifests}) > 1:
                found.append(f"{dataset}: the runs differ in their {name}")
        for package in ("mujoco", "gymnasium"):
            if len(versions := {m["versions"][package] for m in manifests}) > 1:
                found.append(
                    f"{dataset}: the runs used {package} {', '.join(sorted(versions))}; returns move between versions"
                )
    return found


def header(runs: Sequence[RunDirectory]) -> str:
    """The protocol, in a line."""
    manifests = [run.manifest for run in runs]
    seeds = sorted({m["seeds"] for m in manifests})
    episodes = sorted({m["episodes"] for m in manifests})
    actions = sorted({m["action"] for m in manifests})
    labels = sorted({m["reference"]["label"] if m["reference"] else "raw return" for m in manifests})
    join = lambda values: " or ".join(map(str, values))  # noqa: E731
    return (
        f"last evaluation, {join(episodes)} episodes, acting by the {join(actions)}; mean ± std over seeds (ddof 1), "
        f"{join(seeds)} seed(s); score: {'; '.join(labels)}"
    )


def table(runs: Sequence[RunDirectory]) -> tuple[list[str], list[list[str]]]:
    """Column names and rows: a row for each dataset and run, a column for each policy."""
    cells = [final(run) for run in runs]
    policies = sorted({name for c in cells for name in c}, key=lambda name: (name != "behavior", name))
    rows = [
        [
            run.manifest["dataset"],
            run.manifest["name"],
            *(str(c[name]) if name in c else "" for name in policies),
        ]
        for run, c in zip(runs, cells, strict=True)
    ]
    return ["dataset", "spec", *policies], sorted(rows, key=lambda row: row[0])


def to_text(runs: Sequence[RunDirectory], style: str) -> str:
    """The table as markdown, csv or json."""
    head, rows = table(runs)
    if style == "json":
        entries = [
            {
                "run": str(run.path),
                "dataset": run.manifest["dataset"],
                "spec": run.manifest["name"],
                "scores": {name: cell.scores.tolist() for name, cell in final(run).items()},
                "differences": [d._asdict() for d in differences(final(run))],
            }
            for run in runs
        ]
        return json.dumps({"protocol": header(runs), "warnings": warnings(runs), "runs": entries}, indent=2)
    if style == "csv":
        out = io.StringIO()
        csv.writer(out).writerows([head, *rows])
        return out.getvalue()
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join([header(runs), "", *lines])
