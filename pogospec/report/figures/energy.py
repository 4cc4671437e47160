"""How far an energy has fallen: over flow time on known energies, over updates on data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pogospec.errors import UsageError
from pogospec.policies.base import Sample
from pogospec.report.figures.canvas import draw_mean, head, legend_below, panels, tidy
from pogospec.report.figures.continuous import continuous, minimum
from pogospec.report.figures.panel import Panel
from pogospec.report.figures.styles import COLORS, GREY, MARKS, Key, Styles
from pogospec.report.reading.flow import is_target, read_flow
from pogospec.report.reading.known_energy import Known
from pogospec.report.reading.names import dataset_of, names_of, titles
from pogospec.report.reading.series import PREFIX, columns, series
from pogospec.report.statistics import over_seeds
from pogospec.runs.directory import RunDirectory, order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ON_DATA = {"energy": "energy E", "distance": "distance D\nto the reference", "entropy": "entropy H\n[nats]"}
"""Columns of flow.csv that say how a flow on data went, of held-out states."""
TO_OPTIMUM = {"kl_optimum": ("KL(policy ‖ optimum) [nats]", 1.0), "w2_optimum": ("W₂ to the optimum", 0.5)}
"""What a panel shows beside the energy, and its rate beside that of the energy: W2 is a root."""
SHOWN = 20.0
"""A continuous flow is shown down to this part of the least value that was measured."""
FLOOR = 1e-14
"""What is smaller is rounding."""


class Curve(NamedTuple):
    """A quantity of one run over flow time: x [points], values [points, seeds]."""

    x: np.ndarray
    values: np.ndarray
    line: np.ndarray | None  # of the continuous flow, at the times of `grid`
    rate: float | None  # at which the quantity falls in the end
    law: str  # what the rate is

    @property
    def grid(self) -> np.ndarray:
        """Times of the continuous flow."""
        return times(self.x)


def times(x: np.ndarray) -> np.ndarray:
    """Times from the first to the last of some, dense at the beginning, where a flow is fast."""
    return x[0] + (x[-1] - x[0]) * np.linspace(0, 1, 300) ** 3 if len(x) else np.zeros(0)


class Quantity(NamedTuple):
    """What a panel shows of each run."""

    text: str
    curves: dict[str, Curve]
    logarithmic: bool


def quantities(runs: Sequence[RunDirectory]) -> list[Quantity]:
    """The energy, above its minimum where every run knows it, and the distance to the optimum that is known."""
    opened = [Known.open(run) for run in runs]
    flows = [read_flow(run) for run in runs]
    least = [minimum(known) for known in opened]
    lines = [continuous(known) for known in opened]
    names = names_of(runs)
    above = all(value is not None for value in least)

    def curve(place: int, column: str, share: float) -> Curve:
        x, values = flows[place].along_time(column)
        line, own = lines[place], None
        if column == "energy" and above:
            values = values - least[place]
        if line is not None and column == "energy":
            own = line.energy(times(x)) - (least[place] if above else 0.0)
        elif line is not None and column == "kl_optimum":
            own = line.kl(times(x))
        rate = line.rate if line is not None and (above or column != "energy") else None
        law = "" if line is None else f"2 {line.law}" if share == 1 else line.law
        return Curve(x, values, own, None if rate is None else share * rate, law)

    how = {_how(known) for known in opened}
    text = "energy E above its minimum" if above else f"energy E{how.pop() if len(how) == 1 else ''}"
    found = [Quantity(text, {}, above)]
    found[0].curves.update((name, curve(place, "energy", 1.0)) for place, name in enumerate(names))
    for column, (text, share) in TO_OPTIMUM.items():
        having = [place for place, flow in enumerate(flows) if flow.known(column)]
        if having:
            curves = {names[place]: curve(place, column, share) for place in having}
            return [*found, Quantity(text, curves, True)]
    return found


def _how(known: Known) -> str:
    """How the recorded energy looks at Q."""
    kinds = {term.actions for stage in known.stages for term in stage.step.energy.values() if term.needs_critic}
    if len(kinds) != 1:
        return ""
    (actions,) = kinds
    if isinstance(actions, Sample):
        return f", Q by {actions.sample} samples"
    return {"mean": ", Q at the mean action", "quadrature": ", Q by cubature"}[actions]


def figure(runs: Sequence[RunDirectory]) -> Figure:
    """The picture of runs that are all flows on known energies, or all on one dataset; raises UsageError."""
    known = [is_target(run) for run in runs]
    if all(known):
        return _over_time(runs)
    if any(known):
        raise UsageError("energy: found runs on known energies and runs on data, allowed one of both in a picture")
    datasets = sorted({run.manifest["dataset"] for run in runs})
    if len(datasets) > 1:
        raise UsageError(f"energy: found runs on {', '.join(datasets)}, allowed one dataset in a picture")
    return _over_updates(runs)


def _over_time(runs: Sequence[RunDirectory]) -> Figure:
    shown = quantities(runs)
    if not any(len(curve.x) for quantity in shown for curve in quantity.curves.values()):
        names = ", ".join(str(run.path) for run in runs)
        raise UsageError(f"energy: nothing was measured in {names}, needed is the end of an Euler step")
    picture, axes = panels(len(shown), 3.1)
    names = names_of(runs)
    handles = [line for one, quantity in zip(axes, shown, strict=True) for line in _panel(one, quantity, names)]
    name = f"{runs[0].manifest['name']}, " if len(runs) == 1 else ""
    head(picture, name + over_seeds([run.manifest["seeds"] for run in runs]))
    legend_below(picture, sorted(handles, key=lambda line: line.get_color() == GREY))
    return picture


def _panel(axes: Axes, quantity: Quantity, names: list[str]) -> list:
    """Draw one quantity; returns what the legend explains."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    lowest: list[float] = []
    highest: list[float] = []
    for name, curve in quantity.curves.items():
        if not len(curve.x):
            continue
        place = names.index(name)
        color = COLORS[place % len(COLORS)]
        mark = {"marker": MARKS[place % len(MARKS)], "markersize": 4, "linewidth": 1.4}
        values = np.where(curve.values > FLOOR, curve.values, np.nan) if quantity.logarithmic else curve.values
        draw_mean(axes, curve.x, values, color, quantity.logarithmic, label=name, zorder=3, **mark)
        handles.append(Line2D([], [], color=color, label="Euler steps" if len(names) == 1 else name, **mark))
        if np.isfinite(values).any():
            lowest.append(float(np.nanmin(values)))
            highest.append(float(np.nanmax(values)))
        t = curve.grid
        if curve.line is not None:
            line = np.maximum(curve.line, FLOOR) if quantity.logarithmic else curve.line
            axes.plot(t, line, color=GREY, linewidth=3, alpha=0.35, label=f"{name}: continuous flow")
            handles.append(Line2D([], [], color=GREY, linewidth=3, alpha=0.35, label="continuous flow"))
            lowest += [max(float(line.min()), lowest[-1] / SHOWN)] if quantity.logarithmic and lowest else []
        if curve.rate is not None and len(values):
            guide = values[0].mean() * np.exp(-curve.rate * (t - t[0]))
            axes.plot(t, guide, "--", color=GREY, linewidth=1.1, label=f"{name}: rate")
            number = f" = {curve.rate:.3g}" if len(names) == 1 else ""
            text = f"theoretical rate {curve.law}{number}"
            handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.1, label=text))
    tidy(axes, "flow time", quantity.text)
    if quantity.logarithmic:
        axes.set_yscale("log")
        if lowest:
            bottom, top = max(min(lowest), FLOOR), max(highest)
            margin = max((top / bottom) ** 0.06, 1.05)
            axes.set_ylim(bottom / margin, top * margin)
    return handles


def _over_updates(runs: Sequence[RunDirectory]) -> Figure:
    """Energy, distance and entropy of held-out states over updates, with the switching points."""
    from matplotlib.lines import Line2D

    having = [run for run in runs if set(ON_DATA) & set(columns(run, "flow_time"))]
    if not having:
        names = ", ".join(str(run.path) for run in runs)
        raise UsageError(f"energy: nothing was measured in {names}; needed is a flow.csv with rows")
    known = [f"{PREFIX}{name}" for name in ON_DATA if any(name in columns(run, "flow_time") for run in having)]
    shown = [name for name in known if all(series(run, name) for run in having)]
    names = titles(having)
    steps = sorted({one.label for run in having for name in shown for one in series(run, name)}, key=order)
    styles = Styles("step" if len(having) == 1 and len(steps) <= len(COLORS) else "run", names, steps)
    picture, axes = panels(len(shown), 1.9, across=1, sharex=True)
    keys: dict[Key, None] = {}
    for place, (one, name) in enumerate(zip(axes, shown, strict=True)):
        panel = Panel(one, styles, name, "updates")
        panel.draw(list(zip(names, having, strict=True)), "", 30)
        one.set_ylabel(ON_DATA[name.removeprefix(PREFIX)], fontsize=9)
        keys |= dict.fromkeys(panel.keys)
        if place + 1 < len(shown):
            one.set_xlabel("")
        for text in one.texts if place else ():
            text.set_visible(False)
    name = f"{having[0].manifest['name']} on " if len(having) == 1 else ""
    head(picture, f"{name}{dataset_of(having[0])}, {over_seeds([r.manifest['seeds'] for r in having])}")
    entries = sorted(keys, key=lambda key: key.rank)
    legend_below(picture, [Line2D([], [], label=key.text, **key.style()) for key in entries])
    return picture
