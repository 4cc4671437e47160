"""Scores of later steps against the moment of the step that they branch off from, beside the score of that step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pogospec.errors import UsageError
from pogospec.report.figures.canvas import head, legend_below, panels, tidy
from pogospec.report.figures.styles import COLORS, GREY, MARKS
from pogospec.report.reading.names import dataset_of
from pogospec.report.reading.scores import Cell, final, last_step
from pogospec.report.reading.sweeps import by_branch
from pogospec.report.statistics import over_seeds, std
from pogospec.runs.columns import LAST
from pogospec.runs.directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = list[tuple[int, Cell]]
"""Moments of switching, and the policy of each."""


def figure(runs: Sequence[RunDirectory]) -> Figure:
    """A picture of the branches of one spec; raises UsageError where runs are none, or are of several."""
    found = {(run.manifest["name"], run.manifest["dataset"]) for run in runs if run.manifest.get("branch")}
    if len(found) != 1 or not all(run.manifest.get("branch") for run in runs):
        what = "runs that are no branches" if len(found) < 2 else f"branches of {len(found)} specs or datasets"
        raise UsageError(f"switching: found {what}, allowed the folder of a spec with schedule.branch")
    lines = curves(runs)
    if not lines:
        raise UsageError("switching: nothing was evaluated")
    picture, (axes,) = panels(1, 3.2)
    handles = [_line(axes, name, points, number) for number, (name, points) in enumerate(lines.items())]
    about = runs[0].manifest
    tidy(axes, f"updates of {about['branch']['label']} before the switch", "")
    unit = "return" if about["reference"] is None else "score"
    where = f"{about['name']} on {dataset_of(runs[0])}"
    head(picture, f"{where}: {unit}, {over_seeds([r.manifest['seeds'] for r in runs])}")
    legend_below(picture, handles)
    return picture


def curves(runs: Sequence[RunDirectory]) -> dict[str, Points]:
    """What is drawn, by name: the step as it is where others branch off, then the later ones.

    Where further paths are swept, the last step of each combination of their values.
    """
    groups, lines = by_branch(runs), {}
    for name, members in groups.items():
        for run in members:
            branch, cells = run.manifest["branch"], final(run)
            label = branch["label"]
            for policy in (label, label + LAST):
                if policy in cells:
                    lines.setdefault(f"{policy}, at the switch", {})[branch["at"]] = cells[policy]
            end = last_step(cells)
            later = [end] if len(groups) > 1 and end else [one for one in cells if not one.startswith("behavior")]
            for policy in later:
                if cells[policy].total_update > cells.get(label, cells[policy]).total_update:
                    lines.setdefault(f"{policy}  {name}".strip(), {})[branch["at"]] = cells[policy]
    first = {name: points for name, points in lines.items() if name.endswith("at the switch")}
    return {name: sorted(points.items()) for name, points in (first | lines).items()}


def _line(axes: Axes, name: str, points: Points, number: int) -> Any:
    """Mean and std over seeds at each moment."""
    x, means = [at for at, _ in points], [cell.values.mean() for _, cell in points]
    stds, old = [std(cell.values) or 0.0 for _, cell in points], name.endswith("at the switch")
    look: dict[str, Any] = {"color": GREY, "linestyle": ":" if LAST in name else "--", "linewidth": 1.3}
    if not old:
        look = {"color": COLORS[number % len(COLORS)], "linestyle": ":" if LAST in name else "-", "linewidth": 1.6}
    mark = {"marker": MARKS[number % len(MARKS)], "markersize": 4.5}
    return axes.errorbar(x, means, stds, capsize=3, label=name, **look, **mark)
