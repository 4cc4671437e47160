"""The cells of a sweep as a table: the swept values of each, then its policies, the best of each in bold."""

from __future__ import annotations

from collections.abc import Sequence

from pogospec.report.reading.sweeps import Grid, grids
from pogospec.report.tables.markup import markdown_row, markdown_rule
from pogospec.report.tables.protocol import header, warnings
from pogospec.runs.directory import RunDirectory
from pogospec.spec.sweep import short_names, value_text
from pogospec.text import markdown


def protocol(runs: Sequence[RunDirectory], score: str) -> str:
    """The protocol, and what bold means, which is no claim."""
    return f"{header(runs, score)}; bold: the highest mean of each policy, whatever the spread"


def head(grid: Grid) -> list[str]:
    """Titles of the columns."""
    names = short_names(grid.paths)
    return [*(names[path] for path in grid.paths), *grid.policies]


def best(grid: Grid, policy: str) -> int | None:
    """The row whose mean is the greatest; None where fewer than two have one."""
    means = {i: row.policies[policy].values.mean() for i, row in enumerate(grid.rows) if policy in row.policies}
    return max(means, key=lambda i: means[i]) if len(means) > 1 else None


def bold(grid: Grid) -> set[tuple[int, int]]:
    """Row and column of the best of each policy."""
    found = {(best(grid, policy), len(grid.paths) + i) for i, policy in enumerate(grid.policies)}
    return {(row, column) for row, column in found if row is not None}


def texts(grid: Grid) -> list[list[str]]:
    """The rows as text; a cell of a run that is not done says its state."""
    return [
        [
            *(value_text(row.values[path]) if path in row.values else "" for path in grid.paths),
            *(str(row.policies[name]) if name in row.policies else row.state for name in grid.policies),
        ]
        for row in grid.rows
    ]


def to_markdown(runs: Sequence[RunDirectory], score: str = "last") -> str:
    """The tables as markdown, the best of each policy in bold."""
    lines = [f"{markdown(protocol(runs, score))}."]
    for grid in grids(runs, score):
        places, columns = bold(grid), head(grid)
        rows = [
            [f"**{cell}**" if (n, i) in places else markdown(cell) for i, cell in enumerate(row)]
            for n, row in enumerate(texts(grid))
        ]
        lines += [
            "",
            f"{markdown(grid.name)}:",
            "",
            markdown_row([*map(markdown, columns)]),
            markdown_rule(len(columns)),
        ]
        lines += map(markdown_row, rows)
    return "\n".join([*lines, *(f"\nWarning: {markdown(warning)}" for warning in warnings(runs, score))])
