"""The path of a policy on the manifold of its family, from the start to the optimum of a known energy.

One dimension: mean against std, over contours of KL to the optimum. Two: the means, with ellipses of one std at some
steps, over the density of the optimum. More: mean against std of each dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.errors import UsageError
from pogospec.policies.base import DiagonalNormal, FullNormal, Point
from pogospec.report.figures.canvas import head, legend_below, panels, tidy
from pogospec.report.figures.continuous import continuous
from pogospec.report.figures.styles import COLORS, GREY, MARKS
from pogospec.report.reading.flow import is_target, picked, read_flow
from pogospec.report.reading.known_energy import Known, Moments
from pogospec.report.reading.names import names_of
from pogospec.runs.directory import RunDirectory
from pogospec.targets.base import free_energy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 6
"""Dimensions that are shown where there are more than two."""
ELLIPSES = 4
GRID = {1: 64, 2: 200}
"""Points along an axis of the background."""
OPTIMUM = "0.72"


class Path(NamedTuple):
    """Policies of one run: labels [points] and moments [points, seeds, d]; the continuous flow, moments [times, d]."""

    labels: list[str]
    moments: Moments
    line: Moments | None


def path(known: Known) -> Path:
    """The path of a run; the line of the continuous flow ends with the last step."""
    labels = known.labels
    every = [known.moments(label) for label in labels]
    found = Moments(*(np.stack([getattr(one, name) for one in every]) for name in Moments._fields))
    flow, times = continuous(known), read_flow(known.run).along_time("flow_time")[0]
    line = flow.at(times[-1] * np.linspace(0, 1, 300) ** 3) if flow is not None and len(times) else None
    return Path(labels, found, line)


def figure(runs: Sequence[RunDirectory]) -> Figure:
    """The picture of runs on known energies, those on one target over each other; raises UsageError."""
    if not all(is_target(run) for run in runs):
        raise UsageError("path: found runs on data, allowed runs on known energies, whose spec has a target")
    opened = dict(zip(names_of(runs), map(Known.open, runs), strict=True))
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name, known in opened.items():
        if not known.run.policies():
            raise UsageError(f"path: {known.run.path} holds no policies yet")
        if known.target.dimensions == 1 and isinstance(known.parameters("start"), Point):
            raise UsageError(f"path: the policies of {known.run.path} are points of one dimension; needed is a std")
        groups.setdefault((known.run.manifest["data_sha256"], known.least.text, known.least.why), []).append(name)
    places = [(names, which) for names in groups.values() for which in _places(opened[names[0]])]
    picture, axes = panels(len(places), 4.4 if len(places) == 1 else 2.8)
    handles: list[Any] = []
    for one, (names, which) in zip(axes, places, strict=True):
        members = {name: opened[name] for name in names}
        handles += _plane(one, members, list(opened)) if which is None else _moments(one, members, list(opened), which)
    seeds = sorted({run.manifest["seeds"] for run in runs})
    text = "" if seeds == [1] else f", mean of {' or '.join(map(str, seeds))} seeds, thin: each seed"
    size = next(iter(opened.values())).target.dimensions
    some = f", dimensions 1 to {MOST} of {size}" if size > MOST else ""
    what = f"{runs[0].manifest['name']}: path of the policy" if len(runs) == 1 else "paths of the policies"
    head(picture, f"{what}{text}{some}")
    legend_below(picture, sorted(handles, key=lambda handle: handle.get_label() not in (*opened, "Euler steps")))
    return picture


def _places(known: Known) -> list[int | None]:
    """Panels of a target: one dimension each, or the plane."""
    size = known.target.dimensions
    return [None] if size == 2 else list(range(min(size, MOST)))


def _moments(axes: Axes, members: dict[str, Known], names: list[str], which: int) -> list:
    """Mean against std of one dimension."""
    handles: list[Any] = []
    for name, known in members.items():
        found = path(known)
        if found.line is not None:
            handles.append(_flow(axes, found.line.mean[:, which], found.line.std[:, which]))
        handles += _run(axes, found.moments.mean[..., which], found.moments.std[..., which], names, name)
    known = next(iter(members.values()))
    if known.optimum is not None:
        mean, covariance = known.optimum
        handles.append(_star(axes, mean[which], np.sqrt(covariance[which, which])))
    dimension = f" of action {which + 1}" if known.target.dimensions > 1 else ""
    tidy(axes, f"mean{dimension}", f"std{dimension}")
    axes.margins(0.1)
    if known.target.dimensions == 1:
        handles += _landscape(axes, known)
    return handles


def _plane(axes: Axes, members: dict[str, Known], names: list[str]) -> list:
    """Both means, with ellipses of one std at some points."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    for name, known in members.items():
        found, color = path(known), COLORS[names.index(name) % len(COLORS)]
        if found.line is not None:
            handles.append(_flow(axes, *found.line.mean.T))
        handles += _run(axes, found.moments.mean[..., 0], found.moments.mean[..., 1], names, name)
        for point in picked(len(found.labels), ELLIPSES)[0 if len(names) == 1 else -1 :]:
            mean, covariance = (part[point].mean(0) for part in found.moments)
            axes.plot(*_ellipse(mean, covariance), color=color, linewidth=0.9, alpha=0.7)
    known = next(iter(members.values()))
    if any(np.any(path(one).moments.covariance) for one in members.values()):
        some = "some steps" if len(names) == 1 else "the last step"
        handles.append(Line2D([], [], color=GREY, linewidth=0.9, alpha=0.7, label=f"one std of {some}"))
    if known.optimum is not None:
        center, covariance = known.optimum
        handles.append(_star(axes, center[0], center[1], "mean of the optimum"))
        axes.update_datalim(center + 1.5 * np.outer([-1, 1], np.sqrt(np.diag(covariance))))
    tidy(axes, "action 1", "action 2")
    _square(axes)
    return handles + _density(axes, known)


def _run(axes: Axes, x: np.ndarray, y: np.ndarray, names: list[str], name: str) -> list:
    """The steps of one run [points, seeds]; the start is hollow."""
    from matplotlib.lines import Line2D

    place = names.index(name)
    color, mark = COLORS[place % len(COLORS)], MARKS[place % len(MARKS)]
    if x.shape[1] > 1:
        axes.plot(x, y, color=color, linewidth=0.6, alpha=0.4, zorder=2)
    style: Any = {"color": color, "marker": mark, "markersize": 4.5, "linewidth": 1.5}
    axes.plot(x.mean(1), y.mean(1), zorder=3, label=name, **style)
    axes.plot(x.mean(1)[:1], y.mean(1)[:1], marker=mark, markersize=6, color=color, markerfacecolor="white", zorder=4)
    label = "Euler steps" if len(names) == 1 else name
    hollow: Any = {"marker": "o", "markersize": 6, "color": GREY, "markerfacecolor": "white", "linestyle": ""}
    return [Line2D([], [], label=label, **style), Line2D([], [], label="start", **hollow)]


def _flow(axes: Axes, x: np.ndarray, y: np.ndarray) -> Any:
    from matplotlib.lines import Line2D

    axes.plot(x, y, color=GREY, linewidth=3, alpha=0.4, label="continuous flow", zorder=1)
    return Line2D([], [], color=GREY, linewidth=3, alpha=0.4, label="continuous flow")


def _star(axes: Axes, x: float, y: float, label: str = "optimum") -> Any:
    """The optimum."""
    style: Any = {"marker": "*", "markersize": 13, "color": "black", "markeredgecolor": "white", "linestyle": ""}
    (star,) = axes.plot([x], [y], label=label, zorder=5, **style)
    return star


def _ellipse(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Points [2, n] at one std from the mean."""
    values, vectors = np.linalg.eigh(covariance)
    angles = np.linspace(0, 2 * np.pi, 121)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    return mean[:, None] + (vectors * np.sqrt(np.maximum(values, 0.0))) @ circle


def _landscape(axes: Axes, known: Known) -> list:
    """Contours of KL to the optimum over mean and std of a Gaussian."""
    from matplotlib.lines import Line2D

    with known.precision():
        log_normalizer = known.log_normalizer
        if log_normalizer is None or not isinstance(known.parameters("start"), DiagonalNormal | FullNormal):
            return []
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        mean, std = np.meshgrid(np.linspace(left, right, GRID[1]), np.linspace(max(low, high / 200), high, GRID[1]))
        rows = DiagonalNormal(jnp.asarray(mean.reshape(-1, 1)), jnp.log(jnp.asarray(std.reshape(-1, 1))))
        energy = jax.jit(free_energy, static_argnums=0)(known.least.target, known.heat, rows, jax.random.key(0))
    kl = np.asarray(energy, float).reshape(mean.shape) + log_normalizer
    least = max(float(kl.min()), 1e-3)
    if kl.max() > 1.5 * least:
        axes.contour(mean, std, kl, np.geomspace(least * 1.05, kl.max(), 14), colors="0.75", linewidths=0.7, zorder=0)
    axes.set(xlim=(left, right), ylim=(low, high))
    return [Line2D([], [], color="0.75", linewidth=0.7, label="KL to the optimum is level")]


def _density(axes: Axes, known: Known) -> list:
    """The density of the optimum in the plane, filled."""
    from matplotlib.patches import Patch

    if known.log_normalizer is None:
        return []
    limits: Any = {"xlim": axes.get_xlim(), "ylim": axes.get_ylim()}
    x, y = np.meshgrid(*(np.linspace(low, high, GRID[2]) for low, high in limits.values()))
    with known.precision():
        points = jnp.asarray(np.stack([x, y], -1).reshape(-1, 2))
        values = np.asarray(known.least.target.log_density(points), float).reshape(x.shape) / known.heat
    density = np.exp(values - values.max())
    levels = [0.05, 0.2, 0.4, 0.6, 0.8, 1.01]
    axes.contourf(x, y, density, levels, cmap="Greys", vmin=0, vmax=2.2, zorder=-1)
    axes.set(**limits)
    return [Patch(color=OPTIMUM, label="density of the optimum")]


def _square(axes: Any) -> None:
    """One scale on both axes; what is narrower than the panel is widened."""
    ends = [axes.get_xlim(), axes.get_ylim()]
    middle, size = [sum(end) / 2 for end in ends], [end[1] - end[0] for end in ends]
    box = axes.get_position()
    shape = axes.figure.get_figwidth() * box.width / (axes.figure.get_figheight() * box.height)
    width = max(size[0], shape * size[1])
    limits = [(m - w / 2, m + w / 2) for m, w in zip(middle, (width, width / shape), strict=True)]
    axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_aspect("equal", adjustable="box")
