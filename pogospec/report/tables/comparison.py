"""Runs beside each other: the policies of each, a table a dataset, and their paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pogospec.report.reading.names import by_dataset, titles
from pogospec.report.reading.scores import Cell, final
from pogospec.runs.directory import RunDirectory, order


class Group(NamedTuple):
    """The runs on one dataset: a row for each policy, a column for each run."""

    dataset: str
    columns: list[str]
    rows: list[tuple[str, list[Cell | None]]]

    def texts(self) -> list[list[str]]:
        """The rows as text, the policy first."""
        return [[policy, *("" if cell is None else str(cell) for cell in cells)] for policy, cells in self.rows]


class Difference(NamedTuple):
    """A paired difference over seeds, with the standard error of its mean."""

    name: str
    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.name}: {self.mean:+.2f} ± {self.error:.2f}"


def differences(cells: dict[str, Cell]) -> list[Difference]:
    """Each policy minus the first one and minus the one before it, seed by seed; none for a single seed."""
    names, found = list(cells), []
    for j, late in enumerate(names):
        for early in dict.fromkeys(names[: min(j, 1)] + names[max(j - 1, 0) : j]):
            a, b = cells[late].values, cells[early].values
            if len(a) == len(b) > 1:
                gap = a - b
                error = float(gap.std(ddof=1)) / math.sqrt(len(gap))
                found.append(Difference(f"{late} - {early}", float(gap.mean()), error))
    return found


def table(runs: Sequence[RunDirectory], score: str = "last") -> list[Group]:
    """A group for each dataset: rows are behavior and the Euler steps, columns are runs."""
    tables = []
    for dataset, members in by_dataset(runs).items():
        columns = [final(run, score) for _, run in members]
        policies = sorted({policy for cells in columns for policy in cells}, key=order)
        rows = [(policy, [cells.get(policy) for cells in columns]) for policy in policies]
        tables.append(Group(dataset, [title for title, _ in members], rows))
    return tables


def paired(runs: Sequence[RunDirectory], score: str = "last") -> list[tuple[str, str, Difference]]:
    """Differences between the policies of each run: (dataset, run, difference)."""
    return [
        (run.manifest["dataset"], title, gap)
        for run, title in zip(runs, titles(runs), strict=True)
        for gap in differences(final(run, score))
    ]
