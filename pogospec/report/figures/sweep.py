"""The cells of a sweep as a picture: the last Euler step against one swept path, or over two of them as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pogospec.errors import UsageError
from pogospec.report.figures.canvas import WIDTH, head, legend_below, panels, tick, tidy
from pogospec.report.figures.styles import COLORS, MARKS
from pogospec.report.reading.scores import last_step
from pogospec.report.reading.sweeps import Grid, Row, grids, of_sweeps
from pogospec.report.statistics import over_seeds, spread, std
from pogospec.runs.directory import RunDirectory
from pogospec.spec.sweep import short_names, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANNOTATED = 60
"""Cells of a heat map up to which each has its number."""


def figure(runs: Sequence[RunDirectory]) -> Figure:
    """A picture of the cells of one sweep; raises UsageError where there is none, or several, or nothing to see."""
    if not of_sweeps(runs):
        raise UsageError("sweep: found runs that are no cells of a sweep; allowed the folder of a sweep")
    found = grids(runs)
    if len(found) > 1:
        raise UsageError(f"sweep: found {len(found)} sweeps ({', '.join(one.name for one in found)}); draw each alone")
    grid = found[0]
    if not any(last_step(row.policies) for row in grid.rows):
        raise UsageError("sweep: nothing was evaluated")
    paths = sorted(grid.paths, key=lambda path: -len(_values(grid, path)))  # stable: the first of equals along x
    picture = _lines(grid, paths[0]) if len(paths) == 1 else _maps(grid, paths)
    unit = "return" if any(cell.scores is None for row in grid.rows for cell in row.policies.values()) else "score"
    seeds = [run.manifest["seeds"] for run in runs]
    head(picture, f"{grid.name}: {unit}, {over_seeds(seeds) if len(paths) == 1 else 'last step, mean over seeds'}")
    return picture


def _values(grid: Grid, path: str) -> list[Any]:
    """The values of a path in the order of the sweep, numbers by their size."""
    found: dict[str, Any] = {value_text(row.values[path]): row.values[path] for row in grid.rows}
    values = list(found.values())
    return sorted(values) if all(isinstance(value, (int, float)) for value in values) else values


def _scale(axes: Axes, values: Sequence[Any], texts: Sequence[str]) -> list[float]:
    """Places of values on the horizontal axis: where they are if they are numbers, logarithmic if far apart."""
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if not numbers:
        places = [float(i) for i in range(len(values))]
    else:
        places = [float(value) for value in values]
        if min(places) > 0 and max(places) > 4 * min(places):
            axes.set_xscale("log")
    axes.set_xticks(places, texts)
    axes.minorticks_off()
    return places


def _lines(grid: Grid, path: str) -> Figure:
    picture, (axes,) = panels(1, 3.2)
    values = _values(grid, path)
    places = _scale(axes, values, [*map(tick, values)])
    handles = []
    for number, policy in enumerate(grid.policies):
        rows = [row for row in grid.rows if policy in row.policies]
        known = [(places[_place(row, path, values)], row.policies[policy].values) for row in rows]
        known = sorted(known, key=lambda pair: pair[0])
        means, stds = [own.mean() for _, own in known], [std(own) or 0.0 for _, own in known]
        look = {"color": COLORS[number % len(COLORS)], "marker": MARKS[number % len(MARKS)], "markersize": 4.5}
        x = [place for place, _ in known]
        handles.append(axes.errorbar(x, means, stds, capsize=3, linewidth=1.6, label=policy, **look))
    tidy(axes, short_names([path])[path], "")
    legend_below(picture, handles)
    return picture


def _maps(grid: Grid, paths: Sequence[str]) -> Figure:
    """A heat map over the two paths with most values, a panel for each combination of the others."""
    across, down, *others = paths
    names = short_names(grid.paths)
    columns, rows = _values(grid, across), _values(grid, down)
    groups: dict[str, list[Row]] = {}
    for row in grid.rows:
        key = "  ".join(f"{names[path]}={value_text(row.values[path])}" for path in others)
        groups.setdefault(key, []).append(row)
    height = max(2.2, 0.42 * len(rows) + 1.0)
    picture, every = panels(len(groups), height, across=1 if len(groups) == 1 else 2)
    tables = {key: _table(members, across, down, columns, rows) for key, members in groups.items()}
    known = np.concatenate([table[np.isfinite(table)] for table in tables.values()])
    low, high = known.min(), known.max()
    for axes, (key, table) in zip(every, tables.items(), strict=True):
        image = axes.imshow(table, cmap="viridis", vmin=low, vmax=high, aspect="auto", origin="lower")
        axes.set_xticks(range(len(columns)), [*map(tick, columns)], fontsize=8)
        axes.set_yticks(range(len(rows)), [*map(tick, rows)], fontsize=8)
        axes.set_xlabel(names[across], fontsize=9)
        axes.set_ylabel(names[down], fontsize=9)
        if key:
            axes.set_title(key, fontsize=9)
        axes.spines[:].set_visible(False)
        if table.size <= ANNOTATED:
            _annotate(axes, groups[key], across, down, columns, rows, (low + high) / 2)
    picture.colorbar(image, ax=every, shrink=0.8).ax.tick_params(labelsize=8)
    picture.set_figwidth(WIDTH)
    return picture


def _place(row: Row, path: str, values: Sequence[Any]) -> int:
    return [value_text(value) for value in values].index(value_text(row.values[path]))


def _table(members: Sequence[Row], across: str, down: str, columns: Sequence[Any], rows: Sequence[Any]) -> np.ndarray:
    """Means [down, across] of the last step; NaN where a cell has none."""
    table = np.full((len(rows), len(columns)), np.nan)
    for row in members:
        step = last_step(row.policies)
        if step is not None:
            table[_place(row, down, rows), _place(row, across, columns)] = row.policies[step].values.mean()
    return table


def _annotate(axes: Axes, members, across: str, down: str, columns, rows, middle: float) -> None:
    for row in members:
        step = last_step(row.policies)
        if step is not None:
            values = row.policies[step].values
            text = spread(values).replace(" ± ", "\n± ")
            color = "white" if values.mean() < middle else "black"
            place = _place(row, across, columns), _place(row, down, rows)
            axes.text(*place, text, ha="center", va="center", fontsize=7, color=color)
