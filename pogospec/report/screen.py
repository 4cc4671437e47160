"""Flows on known energies on the screen: the course of a run, its end beside the optimum, several runs compared."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pogospec.errors import PogospecError
from pogospec.report import flow_table
from pogospec.report.canvas import over_seeds
from pogospec.report.figures import draw_all
from pogospec.report.flow import START, read_flow
from pogospec.report.known import Known, told
from pogospec.runs import RunDirectory


def show_flow(console: Console, run: RunDirectory) -> None:
    """The course of a finished run, the optimum beside its end, and the pictures."""
    flow, about = read_flow(run), run.manifest
    if not flow.labels:
        console.print(f"nothing was measured: {run.path} has not finished an Euler step")
        return
    console.print(f"\n{about['name']} on {about['dataset']}", style="bold", highlight=False)
    _print(console, flow_table.course(flow))
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
    lines = [f"{label:<15} {told(found.mean.mean(0), found.covariance.mean(0))}"] if label != START else []
    if known.optimum is None:
        return [*lines, f"{'optimum':<15} not known: exp(Q/lambda) at lambda = {known.heat:g}"]
    density = f"exp(Q/lambda)/Z at lambda = {known.heat:g}" if known.heat > 0 else "the point where Q is greatest"
    return [*lines, f"{'optimum':<15} {told(*known.optimum)}: {density}"]


def show_flows(console: Console, runs: Sequence[RunDirectory]) -> None:
    """A table a target, a row a run; the protocol first, warnings last."""
    groups = flow_table.ends(runs)
    console.print(flow_table.header(runs), style="dim", highlight=False)
    for name, group in groups:
        console.print(f"\n{name}", style="bold", highlight=False, soft_wrap=True, markup=False)
        _print(console, flow_table.compared(group))
    for warning in flow_table.warnings(runs):
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True, markup=False)


def _print(console: Console, table: flow_table.Table) -> None:
    view = Table(box=box.SIMPLE_HEAD)
    for number, title in enumerate(table.head):
        view.add_column(escape(title), justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        view.add_row(*map(escape, row))
    console.print(view)
