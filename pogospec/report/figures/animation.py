"""The path of policies as a film: densities and particles as flow time goes on, and how far the energy has fallen.

A panel a flow, all at the same flow time. One dimension: the density as a curve; two, or two of more: particles at the
same noise throughout, ellipses of one and two std of Gaussians and of components, over the density of the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from pogospec.policies.base import Point
from pogospec.report.figures.canvas import PLAIN, WIDTH, Look, as_written, fold, head, legend_below, tidy
from pogospec.report.figures.density import marginal, optimum_marginal
from pogospec.report.figures.energy import FLOOR
from pogospec.report.figures.motion import Fall, Motion, ellipses, fall_of, grid, particles
from pogospec.report.figures.styles import COLORS, GREY
from pogospec.report.reading.flow import picked

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

MOST_FRAMES = 150
"""Pictures of a film, but for those of its end."""
DPI, NODES, LINE = 110, 160, 601
"""Dots of an inch; nodes along an axis of a density in the plane, and on the line."""
REACH, SLENDER = 2.6, 4.0
"""Standard deviations that are shown; how much longer one axis may be than the other where they have one scale."""
LOWER = 2.2
"""Inches of the panel of the energy below several flows."""
LEVELS = (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 1.01)
"""Of a density beside its peak."""


class Film:
    """A picture whose background is drawn once, and what moves in it at each flow time."""

    def __init__(self, motions: Sequence[Motion], pair: tuple[int, int], count: int, look: Look = PLAIN):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.motions, self.look = motions, look
        self.picture, places, below = _layout(len(motions))
        canvas = FigureCanvasAgg(self.picture)
        self.panels: list[_Line | _Plane] = []
        lone, wide = len(motions) == 1, 36 if len(motions) in (2, 4) else 24
        for number, (axes, motion) in enumerate(zip(places, motions, strict=True)):
            color = COLORS[number % len(COLORS)]
            kind = _Line if motion.dimensions == 1 else _Plane
            self.panels.append(kind(axes, motion, color, pair, count, "" if lone else fold(motion.label, wide)))
        groups = _alike(self.panels)
        for members in groups:
            every = np.stack([panel.reach() for panel in members])
            for panel in members:
                panel.limit(every[:, 0].min(0), every[:, 1].max(0))
                panel.background()
            tops = [panel.axes.get_ylim() for panel in members]
            for panel in members:
                panel.axes.set_ylim(min(low for low, _ in tops), max(high for _, high in tops))
        for panel in self.panels[1:] if len(groups) == 1 else ():
            place: Any = panel.axes.get_subplotspec()
            if not place.is_first_col():
                panel.axes.set_ylabel("")
        self.fall = _Fall(below, motions, fall_of(motions))
        head(self.picture, motions[0].label if lone else "paths at the same flow time")
        handles = [*self.fall.handles, *(one for panel in self.panels for one in panel.handles())]
        names = [motion.label for motion in motions]
        legend_below(self.picture, sorted(handles, key=lambda one: one.get_label() not in (*names, "Euler steps")))
        self.picture.set_dpi(look.dpi or DPI)
        as_written(look.adorn(self.picture))
        canvas.draw()
        self.canvas, self.still = canvas, canvas.copy_from_bbox(self.picture.bbox)

    def moments(self) -> np.ndarray:
        """Flow times at which some policy is new, of many some."""
        every = np.unique(np.concatenate([motion.times for motion in self.motions]))
        every = every[np.append(True, np.diff(every) > 1e-9 * every[-1])]
        return every[picked(len(every), MOST_FRAMES)]

    def at(self, time: float) -> Image.Image:
        """The picture at a flow time, of even width and height."""
        from PIL import Image

        self.canvas.restore_region(self.still)
        steps = [_step(motion.times, time) for motion in self.motions]
        for panel, step in zip(self.panels, steps, strict=True):
            panel.show(step)
        self.fall.show(steps)
        for artist in [artist for part in (*self.panels, self.fall) for artist in part.artists]:
            artist.axes.draw_artist(artist)
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        height, width = (side - side % 2 for side in pixels.shape[:2])
        return Image.fromarray(np.ascontiguousarray(pixels[:height, :width]))


def _step(times: np.ndarray, time: float) -> int:
    """The last point that a flow has reached."""
    return max(int(np.searchsorted(times, time + 1e-9 * abs(times[-1]), side="right")) - 1, 0)


def _layout(count: int) -> tuple[Figure, list[Axes], Axes]:
    """A picture with a panel for each flow, and one for the energy: beside a lone flow, below several."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = 2 if count == 1 else {2: 2, 4: 2}.get(count, 3)
    down = math.ceil(count / across)
    side = WIDTH / across
    picture = Figure((WIDTH, down * side + 0.4 + (count > 1) * LOWER), layout=ConstrainedLayoutEngine(hspace=0.06))
    if count == 1:
        one, energy = picture.subplots(1, 2)
        return picture, [one], energy
    plan = picture.add_gridspec(down + 1, across, height_ratios=[side] * down + [LOWER])
    places = [picture.add_subplot(plan[divmod(number, across)]) for number in range(count)]
    return picture, places, picture.add_subplot(plan[down, :])


class _Panel:
    """What the panels of one flow share: its title, and a line that says how far it is."""

    def __init__(self, axes: Axes, motion: Motion, color: str, title: str):
        self.axes, self.motion, self.color = axes, motion, color
        self.artists: list[Any] = []
        self.title = title
        self.told = axes.text(0.03, 0.97, "", transform=axes.transAxes, va="top", fontsize=8, animated=True, zorder=9)
        self.told.set_bbox({"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5})

    def tell(self, step: int) -> None:
        """Write step and flow time."""
        self.told.set_text(f"step {step}, t = {self.motion.times[step]:.3g}")


class _Plane(_Panel):
    """Particles and ellipses over the density of the optimum, in two dimensions."""

    def __init__(self, axes: Axes, motion: Motion, color: str, pair: tuple[int, int], count: int, title: str):
        super().__init__(axes, motion, color, title)
        self.pair = pair
        point = isinstance(motion.parameters, Point)
        drawn = 1 if point else count
        self.points = particles(motion, drawn)[..., list(pair)] if drawn else np.zeros((len(motion.times), 0, 2))
        self.ellipses = ellipses(motion.parameters, pair)
        optimum = motion.known.optimum
        which = np.asarray(pair)
        self.optimum = None if optimum is None else (optimum[0][which], optimum[1][np.ix_(which, which)])
        style: Any = {"color": color, "animated": True}
        size = 6.0 if point else 2.6
        (self.dots,) = axes.plot([], [], "o", markersize=size, alpha=1.0 if point else 0.55, markeredgewidth=0, **style)
        self.rings = [[axes.plot([], [], linewidth=width, **style)[0] for width in (1.8, 0.9)] for _ in self.ellipses]
        (self.trail,) = axes.plot([], [], linewidth=0.9, alpha=0.8, **style)
        self.means = self.ellipses[0].mean if len(self.ellipses) == 1 else self.points[:, 0] if point else None
        self.artists = [self.dots, self.trail, *(line for pair in self.rings for line in pair), self.told]

    def reach(self) -> np.ndarray:
        """The least and the greatest of what is to be seen, [2, 2]."""
        ends = [_around(one.mean, np.diagonal(one.covariance, axis1=-2, axis2=-1)) for one in self.ellipses]
        if self.points.size and not self.ellipses:
            ends.append(np.quantile(self.points, (0.01, 0.99), axis=1).reshape(-1, 2))
        if self.optimum is not None:
            ends.append(_around(self.optimum[0], np.diag(self.optimum[1])))
        every = np.concatenate(ends) if ends else np.array([[-1.0, -1.0], [1.0, 1.0]])
        low, high = every.min(0), every.max(0)
        margin = 0.05 * (high - low) + 1e-9
        return np.stack([low - margin, high + margin])

    def limit(self, low: np.ndarray, high: np.ndarray) -> None:
        """Show so much; one scale on both axes where neither is much the longer."""
        size = high - low
        if size.max() <= SLENDER * size.min():
            more = (size.max() - size) / 2
            low, high = low - more, high + more
        self.axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        self.axes.set_box_aspect(1)

    def background(self) -> None:
        """The density of the optimum where it is known, else its ellipses; without a temperature, level lines of Q."""
        x, y = (f"action {axis + 1}" for axis in self.pair)
        tidy(self.axes, x, y, self.title)
        known = self.motion.known
        if self.motion.dimensions == 2 and not known.least.why:
            limits = self.axes.get_xlim(), self.axes.get_ylim()
            x, y = np.meshgrid(*(np.linspace(*ends, NODES) for ends in limits))
            with known.precision():
                rows = jnp.asarray(np.stack([x, y] if self.pair == (0, 1) else [y, x], -1).reshape(-1, 2))
                values = np.asarray(known.least.target.log_density(rows), float).reshape(x.shape)
            values = np.where(np.isfinite(values), values, values[np.isfinite(values)].min())
            if known.heat > 0:
                density = np.exp((values - values.max()) / known.heat)
                self.axes.contourf(x, y, density, LEVELS, cmap="Greys", vmin=0, vmax=2.2, zorder=-1)
            else:
                levels = np.unique(np.quantile(values, np.linspace(0.05, 0.99, 12)))
                self.axes.contour(x, y, values, levels, colors="0.75", linewidths=0.7, linestyles="-", zorder=0)
        elif self.optimum is not None and known.heat > 0 and known.least.target.gaussian:
            for reach in (1, 2):
                self.axes.fill(*_ring(*self.optimum, reach), color="0.6", alpha=0.3, linewidth=0, zorder=-1)

    def show(self, step: int) -> None:
        """Move what moves."""
        self.dots.set_data(*self.points[step].T)
        for one, lines in zip(self.ellipses, self.rings, strict=True):
            for line, reach in zip(lines, (1, 2), strict=True):
                line.set_data(*_ring(one.mean[step], one.covariance[step], reach))
                line.set_alpha(float(min(1.0, 0.15 + len(self.ellipses) * one.weight[step])))
        if self.means is not None:
            self.trail.set_data(*self.means[: step + 1].T)
        self.tell(step)

    def handles(self) -> list[Artist]:
        """What the legend explains."""
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        known, found = self.motion.known, []
        if known.heat > 0 and not known.least.why and (self.motion.dimensions == 2 or known.least.target.gaussian):
            found.append(Patch(color="0.72", label="optimum"))
        if self.ellipses:
            what = "one and two std" + (" of each component" if len(self.ellipses) > 1 else "")
            found.append(Line2D([], [], color=GREY, linewidth=1.4, label=what))
        return found


def _around(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    gap = REACH * np.sqrt(np.maximum(variance, 0.0))
    return np.concatenate([mean - gap, mean + gap]).reshape(-1, 2)


def _ring(mean: np.ndarray, covariance: np.ndarray, reach: float) -> np.ndarray:
    """Points [2, n] so many std from the mean."""
    values, vectors = np.linalg.eigh(covariance)
    angles = np.linspace(0, 2 * np.pi, 91)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    return mean[:, None] + reach * (vectors * np.sqrt(np.maximum(values, 0.0))) @ circle


class _Line(_Panel):
    """Densities on a line, with particles below."""

    def __init__(self, axes: Axes, motion: Motion, color: str, pair: tuple[int, int], count: int, title: str):
        super().__init__(axes, motion, color, title)
        point = isinstance(motion.parameters, Point)
        drawn = 1 if point else count
        self.points = particles(motion, drawn)[..., 0] if drawn else np.zeros((len(motion.times), 0))
        self.curves = np.zeros((0, 0))
        style: Any = {"color": color, "animated": True}
        (self.curve,) = axes.plot([], [], linewidth=1.8, **style)
        (self.dots,) = axes.plot([], [], "o" if point else "|", markersize=6, alpha=1.0 if point else 0.5, **style)
        self.artists = [self.curve, self.dots, self.told]

    def reach(self) -> np.ndarray:
        """The least and the greatest action to be seen, [2, 1]."""
        drawn = self.points if self.points.size else particles(self.motion, 100)[..., 0]
        ends = [np.quantile(drawn, (0.0, 1.0), axis=1).ravel()]
        if self.motion.known.optimum is not None:
            mean, covariance = self.motion.known.optimum
            ends.append((mean + np.array([-1.3, 1.3]) * REACH * np.sqrt(covariance[0])).ravel())
        every = np.concatenate(ends)
        margin = 0.05 * (every.max() - every.min()) + 1e-3
        return np.array([[every.min() - margin], [every.max() + margin]])

    def limit(self, low: np.ndarray, high: np.ndarray) -> None:
        """Show so much."""
        self.axes.set_xlim(low[0], high[0])

    def background(self) -> None:
        """The density of the optimum as an area, and room for the highest that policies come to."""
        tidy(self.axes, "action", "density", self.title)
        self.x = np.linspace(*self.axes.get_xlim(), LINE)
        with self.motion.known.precision():
            if not isinstance(self.motion.parameters, Point):
                self.curves = marginal(self.motion.parameters, 0, self.x)
            optimum = optimum_marginal(self.motion.known, 0, self.x)
        tops = [float(one.max()) for one in (optimum, self.curves) if one is not None and one.size]
        top = max(tops, default=1.0)
        if optimum is not None:
            self.axes.fill_between(self.x, optimum, color="0.82", zorder=0, linewidth=0)
            top = min(top, 4 * tops[0])
        self.axes.set_ylim(-0.08 * top, 1.15 * top)
        self.level = np.full(self.points.shape[1], -0.04 * top)

    def show(self, step: int) -> None:
        """Move what moves."""
        if self.curves.size:
            self.curve.set_data(self.x, self.curves[:, step])
        self.dots.set_data(self.points[step], self.level)
        self.tell(step)

    def handles(self) -> list[Artist]:
        """What the legend explains."""
        from matplotlib.patches import Patch

        known = self.motion.known
        return [Patch(color="0.82", label="optimum")] if known.optimum is not None and known.heat > 0 else []


def _alike(panels: Sequence[_Line | _Plane]) -> list[list[_Line | _Plane]]:
    """Panels on the same energy, which show the same actions."""
    groups: dict[Any, list[_Line | _Plane]] = {}
    for panel in panels:
        groups.setdefault((panel.motion.dimensions, panel.motion.known.target.formula()), []).append(panel)
    return [*groups.values()]


class _Fall:
    """How far the energies have fallen: all of it pale, what has passed strong."""

    def __init__(self, axes: Axes, motions: Sequence[Motion], fall: Fall):
        from matplotlib.lines import Line2D

        self.times = [motion.times for motion in motions]
        self.values = [np.where(one > FLOOR, one, np.nan) if fall.logarithmic else one for one in fall.values]
        self.handles: list[Any] = []
        self.artists, lone = [], len(motions) == 1
        for number, (x, values) in enumerate(zip(self.times, self.values, strict=True)):
            color = COLORS[number % len(COLORS)]
            line, rate = fall.lines[number], fall.rates[number]
            axes.plot(x, values, color=color, linewidth=1.2, alpha=0.3)
            self.artists += axes.plot([], [], color=color, linewidth=1.8, marker="o", markersize=2.5, animated=True)
            label = "Euler steps" if lone else motions[number].label
            self.handles.append(Line2D([], [], color=color, linewidth=1.8, label=label))
            at = grid(x)
            if line is not None:
                line = np.maximum(line, FLOOR) if fall.logarithmic else line
                axes.plot(at, line, color=GREY, linewidth=3, alpha=0.35, zorder=1)
                self.handles.append(Line2D([], [], color=GREY, linewidth=3, alpha=0.35, label="continuous flow"))
            if rate is not None:
                axes.plot(at, values[0] * np.exp(-rate[0] * (at - at[0])), "--", color=GREY, linewidth=1.1, zorder=1)
                text = f"theoretical rate {rate[1]}" + (f" = {rate[0]:.3g}" if lone else "")
                self.handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.1, label=text))
        tidy(axes, "flow time", fall.text)
        every = np.concatenate(self.values)
        every = every[np.isfinite(every)]
        if fall.logarithmic and every.size:
            axes.set_yscale("log")
            margin = max((every.max() / every.min()) ** 0.06, 1.05)
            axes.set_ylim(every.min() / margin, every.max() * margin)

    def show(self, steps: Sequence[int]) -> None:
        """Draw what has passed."""
        for artist, x, values, step in zip(self.artists, self.times, self.values, steps, strict=True):
            artist.set_data(x[: step + 1], values[: step + 1])
