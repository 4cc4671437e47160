"""What is printed when a run is over: its table, its picture, and what to do next."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from pogospec.report.figures import learning_curve
from pogospec.report.reading import final, is_target, troubles, unhealthy
from pogospec.report.screen import show_flow, show_warnings
from pogospec.report.statistics import spread
from pogospec.report.tables import differences, header
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import command


def report(console: Console, run: RunDirectory) -> None:
    """The table and the picture of a finished run, and what to do next."""
    cells, about = final(run), run.manifest
    if cells:
        console.print(f"\n{about['name']} on {about['dataset']}", style="bold", highlight=False)
        view = Table(box=box.SIMPLE_HEAD)
        view.add_column("policy")
        for name in ("updates", "return", *(["score"] if about["reference"] else [])):
            view.add_column(name, justify="right", no_wrap=True)
        for name, cell in cells.items():
            score = [] if cell.scores is None else [spread(cell.scores)]
            view.add_row(name, f"{cell.total_update:,}", spread(cell.returns), *score)
        console.print(view)
        console.print(header([run]), style="dim", highlight=False)
        gaps = differences(cells)
        if gaps:
            console.print("paired differences over seeds ± standard error:", highlight=False)
        for gap in gaps:
            console.print(f"  {gap}", highlight=False)
    elif is_target(run):
        show_flow(console, run)
    elif about["environment"] is None:
        console.print("nothing was evaluated: the data name no environment; set data.environment")
    show_warnings(console, [*troubles(run), *unhealthy(run)])
    picture = learning_curve(run)
    if picture is not None:
        console.print(f"learning curve  {picture}", soft_wrap=True, highlight=False)
    console.print(f"run directory   {run.path}", soft_wrap=True, highlight=False)
    console.print(f"next            {command('compare', run.path)} …", soft_wrap=True, highlight=False)
