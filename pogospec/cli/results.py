"""Commands that look at runs: compare, plot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pogospec.cli.app import make_console

if TYPE_CHECKING:
    from pogospec.runs import RunDirectory

Runs = Annotated[list[Path], typer.Argument(help="Run directories, or directories that hold runs.")]


def compare(
    runs: Runs,
    score: Annotated[
        str,
        typer.Option(metavar="RULE", help="last, best (of each seed; optimistic) or mean-last-K."),
    ] = "last",
    to: Annotated[Literal["table", "markdown", "latex", "csv", "json"], typer.Option(help="How to print.")] = "table",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the learning curves too, or the energies: .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Compare runs: the fitted behaviour and each Euler step, or the ends of flows on known energies."""
    from pogospec.console import show_comparison
    from pogospec.report import compare, flow_table
    from pogospec.report.figures import draw_figure
    from pogospec.report.forms import to_text

    opened, console = _open(runs), make_console()
    known = flow_table.targets_of(opened)
    if to != "table":
        print(to_text(opened, to, score))
    elif known:
        from pogospec.report.screen import show_flows

        flow_table.refuse_rule(score)
        show_flows(console, opened)
    else:
        show_comparison(console, opened, score)
    if to in ("csv", "latex"):  # as the output often goes into a file
        for warning in flow_table.warnings(opened) if known else compare.warnings(opened, score):
            print(f"warning: {warning}", file=sys.stderr)
    if plot is not None:
        (path,) = draw_figure(opened, "energy" if known else "curves", plot)
        print(f"{'energies' if known else 'learning curves'}  {path}", file=sys.stdout if to == "table" else sys.stderr)


def plot(
    runs: Runs,
    figure: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="curves (default), path, energy, proximal, density or all."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file .png, .svg or .pdf; with --figure all a directory; default: in the run, or beside the first.",
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
        typer.Option("--x", help="Of curves: the horizontal axis; flow_time for columns of flow.csv."),
    ] = "updates",
    by: Annotated[
        Literal["step", "run"] | None,
        typer.Option(help="Of curves: what a colour means; default: a run where there are several."),
    ] = None,
    state: Annotated[
        int | None, typer.Option(min=0, metavar="ROW", help="Of density: a row of the data; default: the first.")
    ] = None,
) -> None:
    """Draw runs: mean and std over seeds.

    curves: scores or metrics over updates, switching points marked (default). energy: energy and distances along the
    flow (default for flows on known energies). density: action densities of the behaviour and each step in one state.
    On known energies alone, path: the policies on their manifold, and proximal: E + D/tau before and after re-centring.
    """
    from pogospec.errors import UsageError
    from pogospec.report.figures import ALL, draw_all, draw_figure
    from pogospec.report.flow import is_target
    from pogospec.report.plot import draw

    opened = _open(runs)
    plain = (y, x, by) == ("score", "updates", None)
    if figure not in (None, "curves") and not plain:
        raise UsageError(f"--y, --x and --by: found with --figure {figure}, allowed with curves")
    if figure == ALL:
        drawn = draw_all(opened, out, state)
        for reason in drawn.reasons:
            print(f"left out: {reason}", file=sys.stderr)
        paths = drawn.paths
    elif figure is None and plain and (state is not None or all(map(is_target, opened))):
        paths = draw_figure(opened, "energy" if state is None else "density", out, state)
    elif figure in (None, "curves") and state is None:
        paths = [draw(opened, out, y, x, by)]
    else:
        paths = draw_figure(opened, figure or "curves", out, state)
    for path in paths:
        print(path)


def _open(paths: list[Path]) -> list[RunDirectory]:
    from pogospec.report.find import open_runs

    found, other = open_runs(paths)
    if other:
        print(f"passed over: {', '.join(other)}", file=sys.stderr)
    return found
