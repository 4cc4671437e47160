"""Tables of runs as rows of text, for those who lay them out themselves, such as notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pogospec.report.reading.names import titles
from pogospec.report.reading.sweeps import grids, of_sweeps
from pogospec.report.tables import flows, sweep
from pogospec.report.tables.comparison import table
from pogospec.report.tables.matrix import Matrix
from pogospec.runs.directory import RunDirectory


class Sheet(NamedTuple):
    """A table: what it is of, the names of its columns, and its rows."""

    title: str
    head: list[str]
    rows: list[list[str]]


def titled(runs: Sequence[RunDirectory]) -> list[tuple[str, RunDirectory]]:
    """Runs with their titles."""
    return list(zip(titles(runs), runs, strict=True))


def sheets(runs: Sequence[RunDirectory], score: str = "last") -> list[Sheet]:
    """A table a dataset, target or sweep."""
    if flows.targets_of(runs):
        return [Sheet(name, *flows.compared(group)) for name, group in flows.ends(runs)]
    if of_sweeps(runs):
        return [
            Sheet(grid.name, [*sweep.head(grid)], [[*row] for row in sweep.texts(grid)]) for grid in grids(runs, score)
        ]
    return [Sheet(group.dataset, ["policy", *group.columns], group.texts()) for group in table(runs, score)]


def sheet_of(matrix: Matrix) -> Sheet:
    """The table of datasets x methods."""
    rows = [
        [row, *(column.entries[row].text if row in column.entries else "" for column in matrix.columns)]
        for row in matrix.rows
    ]
    return Sheet("", ["dataset", *(column.title for column in matrix.columns)], rows)
