"""The cells of sweeps as a table: the swept values of each, then its policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pogospec.report.compare import final, header, warnings
from pogospec.report.markup import markdown_row, markdown_rule
from pogospec.report.scores import Cell
from pogospec.runs.directory import RunDirectory, order
from pogospec.spec.sweep import short_names, value_text


class Row(NamedTuple):
    """One cell of a sweep: its values by path, its policies, and its state where it is not done."""

    values: dict[str, Any]
    policies: dict[str, Cell]
    state: str


class Grid(NamedTuple):
    """The cells of one spec on one dataset."""

    name: str
    paths: list[str]
    policies: list[str]
    rows: list[Row]

    @property
    def head(self) -> list[str]:
        """Titles of the columns."""
        names = short_names(self.paths)
        return [*(names[path] for path in self.paths), *self.policies]

    def best(self, policy: str) -> int | None:
        """The row whose mean is the greatest; None where fewer than two have one."""
        means = {i: row.policies[policy].values.mean() for i, row in enumerate(self.rows) if policy in row.policies}
        return max(means, key=lambda i: means[i]) if len(means) > 1 else None

    @property
    def bold(self) -> set[tuple[int, int]]:
        """Row and column of the best of each policy."""
        found = {(self.best(policy), len(self.paths) + i) for i, policy in enumerate(self.policies)}
        return {(row, column) for row, column in found if row is not None}

    def texts(self) -> list[list[str]]:
        """The rows as text; a cell of a run that is not done says its state."""
        return [
            [
                *(value_text(row.values[path]) if path in row.values else "" for path in self.paths),
                *(str(row.policies[name]) if name in row.policies else row.state for name in self.policies),
            ]
            for row in self.rows
        ]


def of_sweeps(runs: Sequence[RunDirectory]) -> bool:
    """Whether all runs are cells of sweeps."""
    return all(run.manifest.get("sweep") for run in runs)


def grids(runs: Sequence[RunDirectory], score: str = "last") -> list[Grid]:
    """A table for each spec, dataset and set of swept paths."""
    found: dict[tuple, list[RunDirectory]] = {}
    for run in runs:
        about = run.manifest
        found.setdefault((about["name"], about["dataset"], *about["sweep"]), []).append(run)
    tables = []
    for (name, dataset, *paths), members in found.items():
        members = sorted(members, key=lambda run: run.manifest.get("cell", 0))
        cells = [final(run, score) for run in members]
        policies = sorted({policy for cell in cells for policy in cell}, key=order)
        states = [run.status()["state"] for run in members]
        rows = [
            Row(run.manifest["sweep"], cell, "" if state == "done" else state)
            for run, cell, state in zip(members, cells, states, strict=True)
        ]
        tables.append(Grid(f"{name} on {dataset}", [*paths], policies, rows))
    return tables


def markdown(runs: Sequence[RunDirectory], score: str = "last") -> str:
    """The tables as markdown, the best of each policy in bold."""
    lines = [f"{header(runs, score)}."]
    for grid in grids(runs, score):
        bold, texts = grid.bold, grid.texts()
        rows = [
            [f"**{cell}**" if (n, i) in bold else cell for i, cell in enumerate(row)] for n, row in enumerate(texts)
        ]
        lines += ["", f"{grid.name}:", "", markdown_row(grid.head), markdown_rule(len(grid.head))]
        lines += map(markdown_row, rows)
    return "\n".join([*lines, *(f"\nWarning: {warning}" for warning in warnings(runs, score))])
