"""The cells of sweeps: the swept values of each, and its policies; branches of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pogospec.report.reading.scores import Cell, final
from pogospec.runs.directory import RunDirectory, order
from pogospec.spec.sweep import cell_title


class Row(NamedTuple):
    """One cell of a sweep: its values by path, its policies, and its state where it is not done."""

    values: dict[str, Any]
    policies: dict[str, Cell]
    state: str
    run: RunDirectory


class Grid(NamedTuple):
    """The cells of one spec on one dataset."""

    name: str
    paths: list[str]
    policies: list[str]
    rows: list[Row]


def of_sweeps(runs: Sequence[RunDirectory]) -> bool:
    """Whether all runs are cells of sweeps."""
    return all(run.manifest.get("sweep") for run in runs)


def of_branches(runs: Sequence[RunDirectory]) -> bool:
    """Whether all runs branched off from others."""
    return all(run.manifest.get("branch") for run in runs)


def grids(runs: Sequence[RunDirectory], score: str = "last") -> list[Grid]:
    """A grid for each spec, dataset and set of swept paths."""
    found: dict[tuple, list[RunDirectory]] = {}
    for run in runs:
        about = run.manifest
        found.setdefault((about["name"], about["dataset"], *about["sweep"]), []).append(run)
    result = []
    for (name, dataset, *paths), members in found.items():
        members = sorted(members, key=lambda run: run.manifest.get("cell", 0))
        cells = [final(run, score) for run in members]
        policies = sorted({policy for cell in cells for policy in cell}, key=order)
        states = [run.status()["state"] for run in members]
        rows = [
            Row(run.manifest["sweep"], cell, "" if state == "done" else state, run)
            for run, cell, state in zip(members, cells, states, strict=True)
        ]
        result.append(Grid(f"{name} on {dataset}", [*paths], policies, rows))
    return result


def by_branch(runs: Sequence[RunDirectory]) -> dict[str, list[RunDirectory]]:
    """Branches by what else is swept, in words; each group has a run for each moment."""
    found: dict[str, list[RunDirectory]] = {}
    for run in sorted(runs, key=lambda run: run.manifest.get("cell", 0)):
        path = f"schedule.steps[{run.manifest['branch']['step']}].updates"
        others = {key: value for key, value in (run.manifest.get("sweep") or {}).items() if key != path}
        found.setdefault(cell_title(others), []).append(run)
    return found
