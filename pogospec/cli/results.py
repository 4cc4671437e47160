"""Commands that look at runs: compare, plot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pogospec.cli.app import make_console
from pogospec.errors import UsageError
from pogospec.terminal import say

if TYPE_CHECKING:
    from pogospec.report.reading import Plan
    from pogospec.runs.directory import RunDirectory

Runs = Annotated[list[Path], typer.Argument(help="Run directories, or directories that hold runs.")]


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, folders of runs, a suite: its folder or file.")],
    score: Annotated[
        str,
        typer.Option(metavar="RULE", help="last, best (of each seed; optimistic), mean-last-K; fqe, wis or dr."),
    ] = "last",
    stat: Annotated[
        Literal["mean-std", "iqm-ci", "iqm-bootstrap"] | None,
        typer.Option(
            help="One table of datasets by methods, as suites have: mean ± std, or IQM and t or bootstrap intervals."
        ),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(metavar="[SOURCE]", help="That table with the literature's numbers; `list published` names them."),
    ] = None,
    to: Annotated[Literal["table", "markdown", "latex", "csv", "json"], typer.Option(help="How to print.")] = "table",
    caption: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of --to latex: the caption; the protocol is a comment then.")
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="NAME", help="Of --to latex; default: tab:comparison.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the learning curves too, or the energies: .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Compare runs: the fitted behaviour and each Euler step, or the ends of flows on known energies.

    Of a suite, the last Euler step of every method on every dataset, with an average.
    """
    from pogospec.report import tables
    from pogospec.report.figures import draw_figure
    from pogospec.report.reading import open_plan, open_planned

    if (caption, label) != (None, None) and to != "latex":
        raise UsageError(f"--caption, --label: found with --to {to}, allowed with --to latex")
    plan = open_plan(runs[0]) if len(runs) == 1 else None
    opened = _open(runs) if plan is None else open_planned(plan)
    known = tables.targets_of(opened)
    if known:
        tables.refuse_rule(score)
        tables.refuse_table(stat, published)
    if not known and (plan or stat or published):
        warnings = _matrix(opened, plan, to, score, stat or "mean-std", published, (caption, label))
    else:
        _steps(opened, bool(known), to, score, (caption, label))
        warnings = tables.flow_warnings(opened) if known else tables.warnings(opened, score)
    if to in ("csv", "latex"):  # as the output often goes into a file
        for warning in warnings:
            say(f"warning: {warning}", error=True)
    if plot is not None:
        (path,) = draw_figure(opened, "energy" if known else "curves", plot)
        say(f"{'energies' if known else 'learning curves'}  {path}", error=to != "table")


def _steps(opened: list[RunDirectory], known: bool, to: str, score: str, under: tuple[str | None, str | None]) -> None:
    """Print a table a dataset, of all policies of each run."""
    from pogospec.report.reading import of_sweeps
    from pogospec.report.screen import show_comparison, show_flows, show_grids
    from pogospec.report.tables import sweep_to_markdown, to_text

    if to != "table" and not (to == "markdown" and of_sweeps(opened) and not known):
        say(to_text(opened, to, score, *under))
    elif to == "markdown":
        say(sweep_to_markdown(opened, score))
    elif known:
        show_flows(make_console(), opened)
    elif of_sweeps(opened):
        show_grids(make_console(), opened, score)
    else:
        show_comparison(make_console(), opened, score)


def _matrix(
    opened: list[RunDirectory],
    plan: Plan | None,
    to: str,
    score: str,
    stat: str,
    published: str | None,
    under: tuple[str | None, str | None],
) -> list[str]:
    """Print the table of datasets by methods; its warnings."""
    from pogospec.report.screen import show_matrix
    from pogospec.report.tables import matrix_of, matrix_to_text

    table = matrix_of(opened, score, stat, published, plan)
    if to == "table":
        show_matrix(make_console(), table)
    else:
        say(matrix_to_text(table, to, *under))
    return table.warnings


def plot(
    runs: Runs,
    figure: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="curves (default), sweep, switching, path, energy, proximal, density or all."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file .png, .svg or .pdf, of path a film .gif or .mp4 too; with --figure all a directory; "
            "default: in the run, or beside the first.",
        ),
    ] = None,
    y: Annotated[
        str,
        typer.Option(
            "--y",
            metavar="NAME",
            help="Of curves: score, return, a metric (critic_loss, energy.q), or a column of flow.csv.",
        ),
    ] = "score",
    x: Annotated[
        Literal["updates", "seconds", "flow_time"],
        typer.Option("--x", help="Of curves: the horizontal axis; flow_time: at the ends of the steps."),
    ] = "updates",
    by: Annotated[
        Literal["step", "run"] | None,
        typer.Option(help="Of curves: what a colour means; default: a run where there are several."),
    ] = None,
    state: Annotated[
        int | None, typer.Option(min=0, metavar="ROW", help="Of density: a row of the data; default: the first.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option(metavar="I,J", help="Of a film of path: two dimensions of more; default: 1,2.")
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="The title; '' for none.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Width and height in inches, such as 3.3x2.5.")
    ] = None,
    dpi: Annotated[int | None, typer.Option(metavar="DOTS", help="Dots an inch, of .png; default: 140.")] = None,
    y_label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of curves and sweep: name of the y axis.")
    ] = None,
    x_label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of curves and sweep: name of the x axis.")
    ] = None,
) -> None:
    """Draw runs: mean and std over seeds.

    curves: scores or metrics over updates, switching points marked (default). energy: energy and distances along the
    flow (default for flows on known energies). sweep: the last step of every cell against what was swept, of two paths
    as a heat map. switching: of branches, later steps against the moment where they branch off. density: action
    densities of the behaviour and each step in one state.
    On known energies alone, path: the policies on their manifold, and proximal: E + D/tau before and after re-centring;
    --figure path --out path.gif films densities and particles along flow time, of several runs side by side.
    """
    from pogospec.frames import SUFFIXES
    from pogospec.report.figures import (
        ALL,
        PLAIN_CURVES,
        chosen,
        draw_all,
        draw_curves,
        draw_figure,
        film,
        look_of,
        of_runs,
    )

    look = look_of(title, None if size is None else _size(size), dpi, y_label, x_label)
    opened = _open(runs)
    name = chosen(opened, figure, (y, x, by) == PLAIN_CURVES, state)
    if (y_label, x_label) != (None, None) and name not in ("curves", "sweep"):
        raise UsageError(f"--y-label, --x-label: found with --figure {name}, allowed with curves and sweep")
    filmed = name == "path" and out is not None and out.suffix.lower() in SUFFIXES
    if axes is not None and not filmed:
        raise UsageError("--axes: allowed with --figure path and a film, --out path.gif")
    if filmed and out is not None:
        found = film(of_runs(opened), out, None if axes is None else _axes(axes), look=look)
        say(f"{found.path}  ({found.pictures} pictures, {found.seconds:.1f} s)")
        return
    if name == ALL:
        drawn = draw_all(opened, out, state, look)
        for reason in drawn.reasons:
            say(f"left out: {reason}", error=True)
        paths = drawn.paths
    elif name == "curves" and state is None:
        paths = [draw_curves(opened, out, y, x, by, look)]
    else:
        paths = draw_figure(opened, name, out, state, look)
    for path in paths:
        say(path)


def _size(text: str) -> tuple[float, float]:
    if found := re.fullmatch(r"(\d*\.?\d+)\s*[x×]\s*(\d*\.?\d+)", text.strip()):
        return float(found[1]), float(found[2])
    raise UsageError(f"--size: found '{text}', allowed width and height in inches, such as 3.3x2.5")


def _axes(text: str) -> list[int]:
    if found := re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text):
        return [int(found[1]), int(found[2])]
    raise UsageError(f"--axes: found '{text}', allowed two dimensions, counted from 1, such as 1,3")


def _open(paths: list[Path]) -> list[RunDirectory]:
    from pogospec.report.reading import open_runs

    found, other = open_runs(paths)
    if other:
        say(f"passed over: {', '.join(other)}", error=True)
    return found
