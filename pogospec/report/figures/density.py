"""The action density of the behaviour, or of the start, and of the Euler steps: marginals, in one state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from pogospec.checking.recorded import reread
from pogospec.data import load_for
from pogospec.errors import UsageError
from pogospec.policies.base import Point, TanhNormal
from pogospec.policies.maps import AbstractMap
from pogospec.policies.mixtures import Mixture
from pogospec.policies.particles import Cloud
from pogospec.report.figures.canvas import columns_of, draw_mean, head, legend_below, panels, tidy
from pogospec.report.figures.styles import GREY, step_color
from pogospec.report.reading.flow import START, is_target, picked
from pogospec.report.reading.known_energy import Compiled, Known, drawn, moments, parameters_at
from pogospec.report.reading.names import dataset_of
from pogospec.report.statistics import over_seeds
from pogospec.runs.directory import RunDirectory
from pogospec.terminal import command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 6
"""Action dimensions, and policies, that are shown."""
POINTS, ACROSS = 601, 1201
"""Actions of a density, and of the dimension over which an optimum is integrated."""
REACH = 3.5
"""Standard deviations around each mean that are shown."""
TALL = 6.0
"""Peaks are cut where they are so many times as high as the lowest one."""


class Densities(NamedTuple):
    """Policies in one state: label -> parameters [seeds, ...]; the first is the behaviour or the start."""

    policies: dict[str, Any]
    known: Known | None


def densities(run: RunDirectory, state: int | None = None) -> Densities:
    """The policies of a run in a state of its data (default: the first); raises UsageError."""
    labels = run.policies()
    if not labels:
        raise UsageError(f"density: {run.path} holds no policies yet; go on with: {command('resume', run.path)}")
    if is_target(run):
        if state is not None:
            raise UsageError(f"--state: found {state} for {run.path}, whose known energy has no states; leave it out")
        known = Known.open(run)
        return Densities({label: known.parameters(label) for label in known.labels}, known)
    data = load_for(reread(run)[1])
    if data.sha256 != run.manifest["data_sha256"]:
        raise UsageError(f"density: the data of {run.path} changed since the run: its states are not those of now")
    observations = data.transitions.observations
    number = 0 if state is None else state
    if not 0 <= number < len(observations):
        raise UsageError(f"--state: found {number}, allowed 0 to {len(observations) - 1}, the rows of the data")
    return Densities({label: parameters_at(run, label, observations[number]) for label in labels}, None)


def figure(run: RunDirectory, state: int | None = None) -> Figure:
    """The picture of one run, a panel an action dimension; raises UsageError."""
    found = densities(run, state)
    labels = list(found.policies)
    first = [label for label in labels[:1] if label in (START, "behavior")]
    steps = labels[len(first) :]
    shown = [*first, *(steps[i] for i in picked(len(steps), MOST))]
    size = moments(next(iter(found.policies.values()))).mean.shape[-1]
    count = min(size, MOST)
    across = columns_of(count)
    picture, axes = panels(count, 3.6 if across == 1 else 2.6)
    handles: list[Any] = []
    for which, one in enumerate(axes):
        handles += _panel(one, found, shown, steps, which)
        scaled = "" if found.known is not None else ", scaled to [-1, 1]" if across == 1 else " (scaled)"
        height = "" if which % across else "density" if one.get_yticks().size else "a line a seed"
        tidy(one, f"action{'' if size == 1 else f' {which + 1}'}{scaled}", height)
    about = run.manifest
    where = "" if found.known is not None else f" on {dataset_of(run)}, state {state or 0}"
    some = f", actions 1 to {MOST} of {size}" if size > MOST else ""
    head(picture, f"{about['name']}{where}: action densities{some}, {over_seeds([about['seeds']])}")
    legend_below(picture, handles)
    return picture


def _panel(axes: Axes, found: Densities, shown: list[str], steps: list[str], which: int) -> list:
    """Draw the marginals of one dimension; returns what the legend explains."""
    from matplotlib.lines import Line2D

    x = _actions(found, shown, which)
    handles: list[Any] = _optimum(axes, found.known, x, which)
    peaks = []
    for label in shown:
        old = label not in steps
        color = GREY if old else step_color(steps.index(label), len(steps))
        style: Any = {"linewidth": 1.6, "linestyle": "--" if old else "-"}
        parameters = found.policies[label]
        if isinstance(parameters, Point):
            for place in np.asarray(parameters.mean)[:, which]:
                axes.axvline(float(place), color=color, label=label, **style)
        else:
            values = marginal(parameters, which, x)
            draw_mean(axes, x, values, color, label=label, **style)
            peaks.append(float(values.mean(1).max()))
        name = "fitted behavior" if label == "behavior" else label
        handles.append(Line2D([], [], color=color, label=name, **style))
    if found.known is None:
        for bound in (-1, 1):
            axes.axvline(bound, color="0.5", linewidth=0.8, linestyle=":")
    axes.set_xlim(x[0], x[-1])
    if peaks:
        axes.set_ylim(0, 1.05 * min(TALL * min(peaks), max([*peaks, axes.get_ylim()[1] / 1.05])))
    else:  # points have no density
        axes.set_yticks([])
    return handles


def _actions(found: Densities, shown: list[str], which: int) -> np.ndarray:
    """Actions [n] where some density is not small; on data, about the bounds at most."""
    spread = [moments(found.policies[label]) for label in shown]
    if found.known is not None and found.known.optimum is not None:
        mean, covariance = found.known.optimum
        spread.append(type(spread[0])(mean[None], covariance[None]))
    low = min(float((m.mean - REACH * m.std)[:, which].min()) for m in spread)
    high = max(float((m.mean + REACH * m.std)[:, which].max()) for m in spread)
    if found.known is None:
        low, high = max(low, -1.6), min(high, 1.6)
        low, high = min(low, -1.05), max(high, 1.05)
    margin = 0.05 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, POINTS)


def marginal(parameters: Any, which: int, x: np.ndarray) -> np.ndarray:
    """Density of one action dimension at actions [n] under policies of several seeds, [n, seeds].

    That of a family without one is a kernel estimate of many actions, of Silverman's width.
    """
    if isinstance(parameters, AbstractMap | Cloud):
        actions = drawn(parameters)[..., which]
        width = 0.9 * np.maximum(actions.std(0), 1e-3) * len(actions) ** -0.2
        return np.stack([_normal(at, actions, width).mean(0) for at in x])
    if isinstance(parameters, Mixture):
        means, stds = (np.asarray(part, float)[..., which] for part in (parameters.means, np.exp(parameters.log_stds)))
        weights = np.exp(np.asarray(parameters.log_weights, float))
        return (weights * _normal(x[:, None, None], means, stds)).sum(-1)
    if isinstance(parameters, TanhNormal):
        inside = np.abs(x) < 1
        before = np.arctanh(np.where(inside, x, 0.0))
        mean, std = (np.asarray(part, float)[:, which] for part in (parameters.mean, np.exp(parameters.log_std)))
        slope = np.where(inside, 1 - x**2, np.inf)
        return _normal(before[:, None], mean, std) / slope[:, None]
    found = moments(parameters)
    return _normal(x[:, None], found.mean[:, which], found.std[:, which])


def _normal(x: Any, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (np.sqrt(2 * np.pi) * std)


def optimum_marginal(known: Compiled, which: int, x: np.ndarray) -> np.ndarray | None:
    """Density [n] of one dimension of the optimum: a Gaussian, or any law in one or two dimensions; else None."""
    target, heat = known.least.target, known.heat
    if heat <= 0 or known.optimum is None:
        return None
    if target.gaussian:
        mean, covariance = known.optimum
        return _normal(x, mean[which], np.sqrt(covariance[which, which]))
    with known.precision():
        log_normalizer, box = known.log_normalizer, target.box(heat)
        if log_normalizer is None or target.dimensions > 2:
            return None

        def density(points: np.ndarray) -> np.ndarray:
            return np.exp(np.asarray(target.log_density(jnp.asarray(points)), float) / heat - log_normalizer)

        if target.dimensions == 1:
            return density(x[:, None])
        if box is None:
            return None
        other = np.linspace(box.low[1 - which], box.high[1 - which], ACROSS)
        rows = [np.stack([np.full(ACROSS, at), other][:: 1 - 2 * which], -1) for at in x]
        return density(np.stack(rows)).sum(1) * (other[1] - other[0])


def _optimum(axes: Axes, known: Known | None, x: np.ndarray, which: int) -> list:
    """The optimum of a known energy as an area, or as a line where it is a point."""
    if known is None or known.optimum is None:
        return []
    values = optimum_marginal(known, which, x)
    if values is not None:
        return [axes.fill_between(x, values, color="0.82", label="optimum", zorder=0, linewidth=0)]
    if known.heat == 0:
        return [axes.axvline(float(known.optimum[0][which]), color="0.7", linewidth=4, label="optimum", zorder=0)]
    return []
