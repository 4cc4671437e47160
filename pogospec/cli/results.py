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
        Path | None, typer.Option(metavar="FILE", help="Draw the learning curves too: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Compare runs: the fitted behaviour and each Euler step, mean ± std over seeds."""
    from pogospec.console import show_comparison
    from pogospec.report.compare import warnings
    from pogospec.report.forms import to_text
    from pogospec.report.plot import draw

    opened = _open(runs)
    if to == "table":
        show_comparison(make_console(), opened, score)
    else:
        print(to_text(opened, to, score))
    if to in ("csv", "latex"):  # as the output often goes into a file
        for warning in warnings(opened, score):
            print(f"warning: {warning}", file=sys.stderr)
    if plot is not None:
        print(f"learning curves  {draw(opened, plot)}", file=sys.stdout if to == "table" else sys.stderr)


def plot(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to: .png, .svg or .pdf; default: in the run, or beside the first."),
    ] = None,
    y: Annotated[
        str, typer.Option("--y", metavar="NAME", help="score, return, or a metric such as critic_loss or energy.q.")
    ] = "score",
    x: Annotated[Literal["updates", "seconds"], typer.Option("--x", help="The horizontal axis.")] = "updates",
    by: Annotated[
        Literal["step", "run"] | None, typer.Option(help="What a colour means; default: a run where there are several.")
    ] = None,
) -> None:
    """Draw learning curves: mean and std over seeds, a panel a dataset, switching points marked."""
    from pogospec.report.plot import draw

    print(draw(_open(runs), out, y, x, by))


def _open(paths: list[Path]) -> list[RunDirectory]:
    from pogospec.report.find import open_runs

    found, other = open_runs(paths)
    if other:
        print(f"passed over: {', '.join(other)}", file=sys.stderr)
    return found
