"""Tables on the screen: runs compared; of flows on known energies the course of one, and its end beside the optimum."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pogospec.console import styled
from pogospec.errors import PogospecError
from pogospec.report.figures.catalog import draw_all
from pogospec.report.reading.flow import START, read_flow
from pogospec.report.reading.keys import told
from pogospec.report.reading.known_energy import Known
from pogospec.report.reading.known_energy import told as moments
from pogospec.report.reading.names import by_dataset
from pogospec.report.reading.sweeps import grids
from pogospec.report.statistics import over_seeds
from pogospec.report.tables import flows, selection_text, sweep
from pogospec.report.tables.comparison import between, paired, table
from pogospec.report.tables.matrix import Matrix
from pogospec.report.tables.protocol import header, warnings
from pogospec.report.tables.selection import Ranking
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import writable

NARROW = 12
"""Characters at which the title of a column is broken, where its cells are no wider."""


def show_comparison(console: Console, runs: Sequence[RunDirectory], score: str = "last") -> None:
    """A table a dataset, then paired differences and warnings; the protocol first."""
    console.print(header(runs, score), style="dim", highlight=False)
    for group in table(runs, score):
        console.print(f"\n{group.dataset}", style="bold", highlight=False)
        show_columns(console, ["policy", *group.columns], group.texts())
    gaps = paired(runs, score)
    if gaps:
        console.print("paired differences over seeds ± standard error:", highlight=False)
    for (dataset, title), own in itertools.groupby(gaps, key=lambda gap: gap[:2]):
        console.print(f"  {title} on {dataset}", highlight=False, soft_wrap=True)
        for *_, gap in own:
            console.print(f"    {gap}", highlight=False)
    pairs = between(runs, score)
    if pairs:
        console.print("paired differences between runs on the same seeds ± standard error:", highlight=False)
    for dataset, own in itertools.groupby(pairs, key=lambda pair: pair[0]):
        console.print(f"  on {dataset}", highlight=False, soft_wrap=True)
        for _, gap in own:
            console.print(f"    {gap}", highlight=False, soft_wrap=True)
    for dataset, members in by_dataset(runs).items():
        texts = told(members)
        if texts:
            console.print(f"what differs on {dataset}:", highlight=False, soft_wrap=True)
        for text in texts:
            console.print(f"    {text}", highlight=False, soft_wrap=True)
    show_warnings(console, warnings(runs, score))


def show_grids(console: Console, runs: Sequence[RunDirectory], score: str = "last") -> None:
    """A table of cells for each sweep; the protocol first, what makes them hard to compare last."""
    console.print(sweep.protocol(runs, score), style="dim", highlight=False)
    for grid in grids(runs, score):
        console.print(f"\n{grid.name}", style="bold", highlight=False)
        bold, view = sweep.bold(grid), Table(box=box.SIMPLE_HEAD)
        for title in sweep.head(grid):
            view.add_column(styled(title), justify="right", no_wrap=True)
        for number, row in enumerate(sweep.texts(grid)):
            view.add_row(*(styled(cell, "bold" if (number, i) in bold else "") for i, cell in enumerate(row)))
        console.print(view)
    show_warnings(console, warnings(runs, score))


def show_matrix(console: Console, matrix: Matrix) -> None:
    """The table of datasets x methods, with the protocol before it and what must be said after it."""
    console.print(matrix.protocol, style="dim", highlight=False, markup=False)
    rows: list[list[str | Text]] = []
    for row in matrix.rows:
        cells = [column.entries.get(row) for column in matrix.columns]
        texts = [styled("" if c is None else c.text, "bold" if c is not None and c.best else "") for c in cells]
        rows.append([row, *texts])
    show_columns(console, ["dataset", *(column.title for column in matrix.columns)], rows)
    if matrix.better:
        console.print("probability that a run of one method scores above one of another:", highlight=False)
    for line in map(str, matrix.better):
        console.print(f"  {line}", highlight=False, markup=False)
    for note in matrix.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    for warning in matrix.warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)


def show_rankings(console: Console, rankings: Sequence[Ranking]) -> None:
    """Policies ranked by what the data say of them, a table a dataset, and how to load the first."""
    for ranking in rankings:
        sheet = selection_text.sheet_of(ranking)
        console.print(f"\n{sheet.title}", style="bold", highlight=False)
        console.print(selection_text.about(ranking), style="dim", highlight=False)
        show_columns(console, sheet.head, sheet.rows)
        for text in selection_text.beside_rollouts(ranking):
            console.print(text, highlight=False)
        show_warnings(console, ranking.notes)
        console.print(selection_text.deployed(ranking), soft_wrap=True, highlight=False)


def show_warnings(console: Console, found: Sequence[str]) -> None:
    """Warnings, a line each."""
    for warning in found:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)


def show_columns(console: Console, head: list[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """A table whose first column says what a row is; columns that do not fit beside it come below."""
    head = [*map(writable, head)]
    cells = [[cell if isinstance(cell, Text) else styled(cell) for cell in row] for row in rows]
    label = max(len(text) for text in (head[0], *(row[0] for row in cells)))
    others = list(range(1, len(head)))
    widths = [max((len(row[i]) for row in cells), default=0) for i in range(len(head))]
    widths = [max(width, min(len(title), NARROW)) for width, title in zip(widths, head, strict=True)]
    while others:
        room, shown = console.width - label - 4, []
        while others and (not shown or room >= widths[others[0]] + 3):
            room -= widths[others[0]] + 3
            shown.append(others.pop(0))
        view = Table(box=box.SIMPLE_HEAD)
        view.add_column(styled(head[0]), no_wrap=True)
        for i in shown:
            view.add_column(
                styled(_broken(head[i], widths[i])),
                justify="right",
                min_width=widths[i],
                overflow="fold",
                vertical="bottom",
            )
        for row in cells:
            view.add_row(row[0], *(row[i] for i in shown))
        console.print(view)


def _broken(title: str, width: int) -> str:
    """A title on several lines, what is in brackets on its own."""
    parts = title.replace(" (", "\n(").splitlines()
    return "\n".join(line for part in parts for line in textwrap.wrap(part, width))


def show_flow(console: Console, run: RunDirectory) -> None:
    """The course of a finished run, the optimum beside its end, and the pictures."""
    flow, about = read_flow(run), run.manifest
    if not flow.labels:
        console.print(f"nothing was measured: {run.path} has not finished an Euler step")
        return
    console.print(f"\n{about['name']} on {about['dataset']}", style="bold", highlight=False)
    _print(console, flows.course(flow))
    console.print(over_seeds([about["seeds"]]), style="dim", highlight=False)
    try:
        for line in beside_optimum(Known.open(run)):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        drawn = draw_all([run])
    except PogospecError as error:
        console.print(f"note: {error}", highlight=False, soft_wrap=True, markup=False)
        return
    for path in drawn.paths:
        console.print(f"{path.stem:<15} {path}", soft_wrap=True, highlight=False)


def beside_optimum(known: Known) -> list[str]:
    """Moments of the last policy, the mean over its seeds, and those of the optimum."""
    label = known.labels[-1]
    found = known.moments(label)
    lines = [f"{label:<15} {moments(found.mean.mean(0), found.covariance.mean(0))}"] if label != START else []
    if known.optimum is None:
        return [*lines, f"{'optimum':<15} not known: {known.least.why or known.least.text}"]
    return [*lines, f"{'optimum':<15} {moments(*known.optimum)}: {known.least.text}"]


def show_flows(console: Console, runs: Sequence[RunDirectory]) -> None:
    """A table a target, a row a run; the protocol first, warnings last."""
    groups = flows.ends(runs)
    console.print(flows.header(runs), style="dim", highlight=False)
    for name, group in groups:
        console.print(f"\n{name}", style="bold", highlight=False, soft_wrap=True, markup=False)
        _print(console, flows.compared(group))
    show_warnings(console, flows.warnings(runs))


def _print(console: Console, table: flows.Table) -> None:
    view = Table(box=box.SIMPLE_HEAD)
    for number, title in enumerate(table.head):
        view.add_column(styled(title), justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        view.add_row(*map(styled, row))
    console.print(view)
