"""Pictures of runs: mean and std over seeds against updates or time, a panel a dataset, switching points marked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pogospec.errors import UsageError
from pogospec.report.figures.canvas import PLAIN, WIDTH, Look, check_file, legend, write
from pogospec.report.figures.panel import Panel
from pogospec.report.figures.styles import COLORS, Key, Styles
from pogospec.report.reading.names import by_dataset, dataset_names, titles
from pogospec.report.reading.series import EVALUATED, columns, series
from pogospec.report.statistics import over_seeds
from pogospec.runs.directory import RunDirectory, order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X = Literal["updates", "seconds", "flow_time"]


def learning_curve(runs: RunDirectory | Sequence[RunDirectory], path: Path | None = None) -> Path | None:
    """Draw the scores of runs into a picture; None where nothing was evaluated. See `draw_curves`."""
    several = [runs] if isinstance(runs, RunDirectory) else list(runs)
    return draw_curves(several, path) if any(series(run) for run in several) else None


def draw_curves(
    runs: Sequence[RunDirectory],
    path: Path | None = None,
    y: str = "score",
    x: X = "updates",
    by: Literal["step", "run"] | None = None,
    look: Look = PLAIN,
) -> Path:
    """Write the picture of `figure` and return its path, whose suffix is png, svg or pdf.

    The default path lies in the run directory, of several runs beside the first; it is named after what it shows.
    """
    path = _default(runs, y, x) if path is None else path
    check_file(path)
    return write(figure(runs, y, x, by), path, look)


def _default(runs: Sequence[RunDirectory], y: str, x: str) -> Path:
    single = len(runs) == 1
    stem = {"score": "learning_curve", "return": "return_curve"}.get(y, y.replace(".", "_"))
    name = stem + ("" if single or y not in EVALUATED else "s") + ("" if x == "updates" else f"_{x}")
    return (runs[0].path if single else runs[0].path.parent) / f"{name}.png"


def figure(
    runs: Sequence[RunDirectory],
    y: str = "score",
    x: X = "updates",
    by: Literal["step", "run"] | None = None,
) -> Figure:
    """A picture of runs, a panel a dataset; raises UsageError where no run has what is asked for.

    `y` is score (raw return on a dataset where some run has no reference), return, or a column of metrics.csv or
    flow.csv (`flow.NAME` where both have it); seconds are those of training, without compilation and evaluation; over
    flow time all is drawn as it is at the ends of the Euler steps. A colour means a step, or a run
    (default: a step where there is one run of few steps).
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.lines import Line2D

    drawn = _drawable(runs, y, x)
    groups = by_dataset(drawn)
    called = dataset_names(groups)
    steps = sorted({one.label for run in drawn for one in series(run, y, x)}, key=order)
    names = list(dict.fromkeys(titles(drawn)))
    styles = Styles(by or ("step" if len(drawn) == 1 and len(steps) <= len(COLORS) else "run"), names, steps)
    across = 1 if len(groups) == 1 else 2
    down = -(-len(groups) // across)
    picture = Figure(layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.04))
    axes = picture.subplots(down, across, squeeze=False).ravel()
    keys: dict[Key, None] = {}
    for one, (dataset, members) in zip(axes, groups.items(), strict=False):
        panel = Panel(one, styles, _quantity([run for _, run in members], y), x)
        panel.draw(members, called[dataset], 28 if across == 2 else 44)
        keys |= dict.fromkeys(panel.keys)
    for one in axes[len(groups) :]:
        one.remove()
    _caption(picture, drawn)
    places = {name: place for place, name in enumerate([*names, *steps])}
    entries = sorted(keys, key=lambda key: (key.rank, places.get(key.text, 0)))
    rows = legend(picture, [Line2D([], [], label=key.text, **key.style()) for key in entries])
    picture.set_size_inches(WIDTH, (3.4 if across == 1 else 2.6) * down + 0.3 + 0.2 * rows)
    return picture


def _drawable(runs: Sequence[RunDirectory], y: str, x: str) -> list[RunDirectory]:
    known = {run.path: columns(run, x) for run in runs}
    names = list(dict.fromkeys(name for found in known.values() for name in found))
    if y not in names:
        where = " over flow time" if x == "flow_time" else ""
        raise UsageError(f"--y{where}: found '{y}', allowed {', '.join(names) or 'none: no run has a flow.csv'}")
    drawn = [run for run in runs if y in known[run.path] and series(run, y, x)]
    if not drawn:
        paths = ", ".join(str(run.path) for run in runs)
        metrics = ", ".join(name for name in names if name not in EVALUATED) or "none recorded yet"
        raise UsageError(f"no evaluation of an Euler step to draw in {paths}; metrics that --y can draw: {metrics}")
    return drawn


def _quantity(runs: Sequence[RunDirectory], y: str) -> str:
    """Scores and raw returns do not share an axis."""
    raw = y == "score" and any(run.manifest["reference"] is None for run in runs)
    return "return" if raw else y


def _caption(picture: Figure, runs: Sequence[RunDirectory]) -> None:
    """Say what line and band are: above one panel in its title, above several in theirs."""
    text = over_seeds([run.manifest["seeds"] for run in runs])
    if len(picture.axes) > 1:
        picture.suptitle(text, fontsize=10)
        return
    name = f"{runs[0].manifest['name']} on " if len(runs) == 1 else ""
    axes = picture.axes[0]
    axes.set_title(textwrap.fill(f"{name}{axes.get_title()}, {text}", 72), fontsize=10, pad=15)
