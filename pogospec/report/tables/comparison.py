"""Runs beside each other: the policies of each, a table a dataset, and their paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pogospec.report.reading.names import by_dataset, titles
from pogospec.report.reading.scores import Cell, final, last_step, seeds_of
from pogospec.runs.columns import LAST
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
    """Each policy minus the first one and minus the one before it, seed by seed; none for a single seed.

    Last weights minus the averaged ones alone.
    """
    names, found = [name for name in cells if not name.endswith(LAST)], []
    for late in cells:
        j = names.index(late) if late in names else len(names)
        whole = late.removesuffix(LAST)
        others = [whole] if whole != late else [*names[: min(j, 1)], *names[max(j - 1, 0) : j]]
        for early in dict.fromkeys(name for name in others if name in cells):
            a, b = cells[late].values, cells[early].values
            if len(a) == len(b) > 1:
                gap = a - b
                found.append(Difference(f"{late} - {early}", float(gap.mean()), _error(gap)))
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


MANY = 4
"""Runs beyond which each is compared with the first one alone."""


def between(runs: Sequence[RunDirectory], score: str = "last") -> list[tuple[str, Difference]]:
    """Differences of the last steps of runs on one dataset over the seeds that both have: (dataset, difference).

    Of each pair, or of each run and the first where there are many. Scores by different references are not compared.
    """
    found = []
    for dataset, members in by_dataset(runs).items():
        ends = [(title, run, _end(run, score)) for title, run in members]
        for place, (late, run, (policy, one)) in enumerate(ends):
            for early, other, (before, two) in ends[: place if len(ends) <= MANY else min(place, 1)]:
                if one is None or two is None or run.manifest["reference"] != other.manifest["reference"]:
                    continue
                common = sorted({*seeds_of(run)} & {*seeds_of(other)})
                if len(common) < 2:
                    continue
                rows = [[seeds_of(which).index(seed) for seed in common] for which in (run, other)]
                gap = one.values[rows[0]] - two.values[rows[1]]
                steps = "" if policy == before else f" ({policy} - {before})"
                name = f"{late} - {early}{steps}, {len(common)} seeds"
                found.append((dataset, Difference(name, float(gap.mean()), _error(gap))))
    return found


def _end(run: RunDirectory, score: str) -> tuple[str | None, Cell | None]:
    cells = final(run, score)
    policy = last_step(cells)
    return policy, None if policy is None else cells[policy]


def _error(gap: np.ndarray) -> float:
    """Standard error of a mean over seeds."""
    return float(gap.std(ddof=1)) / math.sqrt(len(gap))
