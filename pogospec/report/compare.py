"""Run directories -> tables over seeds; reads files only.

The seed is the unit of replication: episodes of one seed are averaged first. The std has ddof 1. A score is
100 (return - low) / (high - low), so that its std is the std of the returns over the reference range alone.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pogospec.runs import RunDirectory, order


class Cell(NamedTuple):
    """Last evaluation of one policy of a run: a number a seed, raw and normalised."""

    returns: np.ndarray
    scores: np.ndarray | None
    total_update: int

    @property
    def values(self) -> np.ndarray:
        """Scores where a reference is known, else returns."""
        return self.returns if self.scores is None else self.scores

    def __str__(self) -> str:
        return spread(self.values)


class Difference(NamedTuple):
    """A paired difference over seeds, with the standard error of its mean."""

    name: str
    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.name}: {self.mean:+.2f} ± {self.error:.2f}"


class Group(NamedTuple):
    """The runs on one dataset: a row for each policy, a column for each run."""

    dataset: str
    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]


def std(values: np.ndarray) -> float | None:
    """Standard deviation over seeds, ddof 1; None for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def spread(values: np.ndarray) -> str:
    """Mean ± std over seeds; the mean alone for one seed."""
    deviation = std(values)
    return f"{values.mean():.1f}" if deviation is None else f"{values.mean():.1f} ± {deviation:.1f}"


def curves(run: RunDirectory) -> dict[str, dict[int, np.ndarray]]:
    """Policy -> total updates -> raw mean return of each seed; evaluations cut short are left out."""
    found: dict[str, dict[int, dict[int, list[float]]]] = {}
    for row in run.read("returns.csv"):
        points = found.setdefault(row["policy"], {})
        seeds = points.setdefault(int(row["total_update"]), {})
        seeds.setdefault(int(row["seed"]), []).append(float(row["return"]))
    count = run.manifest["seeds"]
    return {
        policy: {
            total: np.array([np.mean(seeds[seed]) for seed in sorted(seeds)])
            for total, seeds in sorted(found[policy].items())
            if len(seeds) == count
        }
        for policy in sorted(found, key=order)
    }


def normalised(run: RunDirectory, returns: np.ndarray) -> np.ndarray | None:
    """Scores of returns by the reference of a run; None where it has none."""
    reference = run.manifest["reference"]
    if reference is None:
        return None
    return 100 * (np.asarray(returns) - reference["low"]) / (reference["high"] - reference["low"])


def final(run: RunDirectory) -> dict[str, Cell]:
    """The last evaluation of the behaviour and of each Euler step, in that order."""
    cells = {}
    for policy, points in curves(run).items():
        if points:
            total = max(points)
            cells[policy] = Cell(points[total], normalised(run, points[total]), total)
    return cells


def differences(cells: dict[str, Cell]) -> list[Difference]:
    """Later minus earlier policies, seed by seed; none for a single seed."""
    names, found = list(cells), []
    for j, late in enumerate(names):
        for early in names[:j]:
            a, b = cells[late].values, cells[early].values
            if len(a) == len(b) > 1:
                gap = a - b
                error = float(gap.std(ddof=1)) / math.sqrt(len(gap))
                found.append(Difference(f"{late} - {early}", float(gap.mean()), error))
    return found


def titles(runs: Sequence[RunDirectory]) -> list[str]:
    """Names of the runs, told apart by their directory where a name comes twice on one dataset."""
    keys = [(run.manifest["dataset"], run.manifest["name"]) for run in runs]
    return [name if keys.count((d, name)) == 1 else run.path.name for run, (d, name) in zip(runs, keys, strict=True)]


def table(runs: Sequence[RunDirectory]) -> list[Group]:
    """A group for each dataset: rows are behavior and the Euler steps, columns are runs."""
    groups: dict[str, list[tuple[str, dict[str, Cell]]]] = {}
    for run, title in zip(runs, titles(runs), strict=True):
        groups.setdefault(run.manifest["dataset"], []).append((title, final(run)))
    tables = []
    for dataset, members in groups.items():
        policies = sorted({policy for _, cells in members for policy in cells}, key=order)
        rows = [(policy, [cells.get(policy) for _, cells in members]) for policy in policies]
        tables.append(Group(dataset, [title for title, _ in members], rows))
    return tables


def paired(runs: Sequence[RunDirectory]) -> list[tuple[str, str, Difference]]:
    """Differences between the policies of each run: (dataset, run, difference)."""
    return [
        (run.manifest["dataset"], title, gap)
        for run, title in zip(runs, titles(runs), strict=True)
        for gap in differences(final(run))
    ]


def warnings(runs: Sequence[RunDirectory]) -> list[str]:
    """What makes runs hard to compare."""
    found, datasets = [], {}
    for run in runs:
        datasets.setdefault(run.manifest["dataset"], []).append(run.manifest)
        state = run.status()["state"]
        if state != "done":
            found.append(f"{run.path} is {state}, not done: its numbers are not final")
    for dataset, manifests in datasets.items():
        found += [f"{dataset}: {text}" for text in _mismatches(manifests)]
    return found


def _mismatches(manifests: list[dict[str, Any]]) -> list[str]:
    found = []
    names = {"data_sha256": "data (sha256)", "environment": "environment", "reference": "reference returns"}
    names |= {"episodes": "number of episodes", "action": "way of acting", "evaluation_seed": "evaluation seed"}
    for key, name in names.items():
        values = {str(manifest.get(key)) for manifest in manifests}
        if len(values) > 1:
            short = [value if len(value) < 40 else value[:12] + "…" for value in sorted(values)]
            found.append(f"the runs differ in their {name}: {', '.join(short)}")
    for package in ("mujoco", "gymnasium"):
        versions = {str(manifest["versions"].get(package)) for manifest in manifests}
        if len(versions) > 1:
            found.append(f"the runs used {package} {', '.join(sorted(versions))}; returns move between versions")
    return found


def header(runs: Sequence[RunDirectory]) -> str:
    """The protocol, in a line."""
    manifests = [run.manifest for run in runs]
    seeds, episodes, actions = (" or ".join(_values(manifests, key)) for key in ("seeds", "episodes", "action"))
    labels = sorted({m["reference"]["label"] if m["reference"] else "raw return" for m in manifests})
    over = "mean ± std over seeds (ddof 1)" if any(m["seeds"] > 1 for m in manifests) else "one seed"
    return (
        f"last evaluation, mean of {episodes} episodes, acting by the {actions}; {over}, seeds: {seeds}; "
        f"numbers: {'; '.join(labels)}"
    )


def _values(manifests: list[dict[str, Any]], key: str) -> list[str]:
    return [str(value) for value in sorted({manifest[key] for manifest in manifests})]


def to_text(runs: Sequence[RunDirectory], style: str) -> str:
    """The comparison as markdown, json or csv."""
    return {"markdown": _markdown, "json": _json, "csv": _csv}[style](runs)


def _markdown(runs: Sequence[RunDirectory]) -> str:
    lines = [header(runs) + "."]
    for group in table(runs):
        head = [group.dataset, *group.columns]
        body = [[policy, *("" if cell is None else str(cell) for cell in cells)] for policy, cells in group.rows]
        rows = [head, ["---", *["---:"] * len(group.columns)], *body]
        lines += ["", *("| " + " | ".join(row) + " |" for row in rows)]
    gaps = paired(runs)
    if gaps:
        lines += ["", "Paired differences over seeds, mean ± standard error:", ""]
        lines += [f"- {title} on {dataset}: {gap}" for dataset, title, gap in gaps]
    lines += [f"\nWarning: {warning}" for warning in warnings(runs)]
    return "\n".join(lines)


def _json(runs: Sequence[RunDirectory]) -> str:
    entries = []
    for run in runs:
        cells = final(run)
        policies = {
            name: {
                "total_update": cell.total_update,
                "unit": "return" if cell.scores is None else "score",
                "returns": cell.returns.tolist(),
                "mean": float(cell.values.mean()),
                "std": std(cell.values),
            }
            for name, cell in cells.items()
        }
        gaps = [gap._asdict() for gap in differences(cells)]
        spec = {key: run.manifest[key] for key in ("dataset", "name", "digest")}
        scores = {name: cell.values.tolist() for name, cell in cells.items()}
        entries.append({"run": str(run.path), **spec, "scores": scores, "policies": policies, "differences": gaps})
    content = {"protocol": header(runs), "warnings": warnings(runs), "runs": entries}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _csv(runs: Sequence[RunDirectory]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["dataset", "run", "policy", "unit", "seeds", "mean", "std", "total_update"])
    for group in table(runs):
        for policy, cells in group.rows:
            for title, cell in zip(group.columns, cells, strict=True):
                if cell is not None:
                    deviation = std(cell.values)
                    unit = "return" if cell.scores is None else "score"
                    numbers = [len(cell.values), repr(float(cell.values.mean()))]
                    numbers += ["" if deviation is None else repr(deviation), cell.total_update]
                    writer.writerow([group.dataset, title, policy, unit, *numbers])
    return out.getvalue().rstrip("\n")
