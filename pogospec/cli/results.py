"""Commands that look at runs: compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pogospec.cli.app import make_console
from pogospec.errors import UsageError


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    to: Annotated[Literal["table", "markdown", "json", "csv"], typer.Option(help="How to print.")] = "table",
    plot: Annotated[Path | None, typer.Option(help="Draw the learning curves of all runs into a PNG.")] = None,
) -> None:
    """Compare runs: the fitted behaviour and each Euler step, mean ± std over seeds."""
    from pogospec.console import show_comparison
    from pogospec.report.compare import to_text, warnings
    from pogospec.report.plot import learning_curve
    from pogospec.runs import RunDirectory

    opened = [RunDirectory.open(run) for run in runs]
    if to == "table":
        show_comparison(make_console(), opened)
    else:
        print(to_text(opened, to))
    if to == "csv":
        for warning in warnings(opened):
            print(f"warning: {warning}", file=sys.stderr)
    if plot is not None and learning_curve(opened, plot) is None:
        raise UsageError("--plot: none of the runs was evaluated")
