"""The proximal energy E + D/tau of two consecutive Euler steps, along the line between their policies.

Step k minimises its proximal energy with the reference of step k; re-centring moves the reference to the policy of
step k, and the minimum to that of step k + 1. The line runs through both policies in the parameters of the family
(mean, log std), so that on it the first energy is least at 0 and the second at 1, where the steps were solved.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.program import Stage
from pogospec.energies.base import Context
from pogospec.errors import UsageError
from pogospec.geometries.base import Seen
from pogospec.policies.base import Sample
from pogospec.report.figures.canvas import draw_mean, head, legend_below, panels, tidy
from pogospec.report.figures.styles import COLORS, GREY
from pogospec.report.reading.flow import START, is_target, read_flow
from pogospec.report.reading.known_energy import Known
from pogospec.report.statistics import over_seeds
from pogospec.runs.directory import RunDirectory
from pogospec.steps.base import Problem
from pogospec.steps.implicit import Implicit
from pogospec.steps.measure import energy_rows
from pogospec.steps.schedule import Backtracking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 281
REACH = 1.25
"""The line goes so far beyond both policies, in units of the distance between them."""
SAMPLES = 2**14
"""Samples where the steps take Q by samples: the line shows the expectation."""


class Slice(NamedTuple):
    """Energies along the line from the policy of step k (0) to that of step k + 1 (1); values [points, seeds]."""

    labels: tuple[str, str, str]  # the reference of step k, step k, step k + 1
    place: np.ndarray  # [points]
    energy: np.ndarray  # of step k + 1
    before: np.ndarray  # proximal energy of step k
    after: np.ndarray  # proximal energy of step k + 1


def figure(run: RunDirectory) -> Figure:
    """The picture of a run on a known energy; raises UsageError where it has no two such steps."""
    from matplotlib.lines import Line2D

    if not is_target(run):
        raise UsageError(f"proximal: {run.path} is a run on data, allowed runs on known energies, with a target")
    found = slices(Known.open(run))
    reference, first, second = found.labels
    picture, (axes,) = panels(1, 3.8)
    handles: list[Any] = []
    curves: tuple[Any, ...] = (
        (found.energy, GREY, "--", "energy E"),
        (found.before, COLORS[0], "-", f"E + D/τ, reference: {reference}"),
        (found.after, COLORS[1], "-", f"E + D/τ after re-centring, reference: {first}"),
    )
    for values, color, line, label in curves:
        draw_mean(axes, found.place, values, color, linestyle=line, linewidth=1.8, label=label)
        handles.append(Line2D([], [], color=color, linestyle=line, linewidth=1.8, label=label))
        if line == "-":
            mean = values.mean(1)
            lowest = int(mean.argmin())
            axes.plot(found.place[[lowest]], mean[[lowest]], "o", color=color, markersize=7, zorder=4)
    handles.append(Line2D([], [], color=GREY, marker="o", linestyle="", markersize=7, label="minimum"))
    for at in (0, 1):
        axes.axvline(at, color="0.5", linestyle=":", linewidth=1.2)
    tidy(axes, f"along the line from {first} (0) to {second} (1), in the policy's parameters", "energy")
    _limit(axes, found)
    head(picture, f"{run.manifest['name']}: re-centring at {first}, {over_seeds([run.manifest['seeds']])}")
    legend_below(picture, handles)
    return picture


def _limit(axes: Any, found: Slice) -> None:
    """Show the minima well: no higher than where the lower of both rises again at the ends."""
    lower = np.minimum(found.before.mean(1), found.after.mean(1))
    low = min(found.energy.mean(1).min(), lower.min())
    high = max(lower.max(), found.before.mean(1)[np.abs(found.place - 1).argmin()])
    axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
    axes.set_xlim(found.place[0], found.place[-1])


def slices(known: Known) -> Slice:
    """The first two consecutive implicit steps of which the second is re-centred; raises UsageError."""
    saved = known.run.policies()
    pairs = [
        (early, late)
        for early, late in zip(known.stages, known.stages[1:], strict=False)
        if {early.label, late.label} <= set(saved) and _shown(early) and _shown(late) and _recentred(known, late)
    ]
    if not pairs:
        raise UsageError(
            f"proximal: {known.run.path} has no two finished implicit steps in a row of which the second starts "
            "from: previous, without tau: doubling; needed are two such steps"
        )
    early, late = pairs[0]
    number = known.stages.index(early)
    before = known.stages[number - 1].label if number else START
    first, second = known.parameters(early.label), known.parameters(late.label)
    place = np.linspace(-REACH, 1 + REACH, POINTS)
    with known.precision():
        along = lambda a, b: a + jnp.asarray(place).reshape(-1, *(1,) * a.ndim) * (b - a)  # noqa: E731
        line = jax.tree.map(along, first, second)
        reference, begin = known.parameters(before), known.parameters(_beginning(known))
        energy = _energy(known, late, line, begin)
        own = energy if early.source == late.source else _energy(known, early, line, begin)  # one step, repeated
        after, earlier = energy + _distances(known, late, line, first), own + _distances(known, early, line, reference)
    labels = (before if _recentred(known, early) else START, early.label, late.label)
    return Slice(labels, place, *(np.asarray(values, float) for values in (energy, earlier, after)))


def _beginning(known: Known) -> str:
    """The policy at which the terms of the energy measured what all steps keep."""
    labels = [START, *(stage.label for stage in known.stages)]
    measured = [any(term.begins for term in stage.step.energy.values()) for stage in known.stages]
    return labels[measured.index(True)] if True in measured else START


def _shown(stage: Stage) -> bool:
    step = stage.step  # of a step that is doubled the policy between its halves, which is a reference, is not saved
    return isinstance(step.scheme, Implicit) and bool(step.proximal or step.from_) and not step.doubles


def _recentred(known: Known, stage: Stage) -> bool:
    return any(term.reference == "previous" for term in known.proximal(stage))


def _distances(known: Known, stage: Stage, line: Any, previous: Any) -> Any:
    """The proximal terms of a step along a line of policies [points, seeds, ...], [points, seeds]."""
    total: Any = 0.0
    seen = Seen(jnp.zeros((1, 0)), jax.random.key(0))
    for term, tau in zip(known.proximal(stage), taus(known, stage), strict=True):
        reference = previous if term.reference == "previous" else known.parameters(START)
        same = jax.tree.map(lambda leaf, of: jnp.broadcast_to(leaf, of.shape), reference, line)
        total += term.geometry.divergence(line, same, seen) / tau
    return total


def taus(known: Known, stage: Stage) -> list[Any]:
    """Step size of each proximal term, a number or one a seed: where it was chosen by trial, as the run recorded it."""
    flow = read_flow(known.run)
    chosen = flow.columns["tau"][flow.labels.index(stage.label)]
    written = known.stage(stage.label).step
    trial = isinstance(written.tau, Backtracking) or any(
        isinstance(p.tau, Backtracking) for p in written.proximal or ()
    )
    if trial and not np.isfinite(chosen).all():
        raise UsageError(f"proximal: {stage.label} of {known.run.path} was taken back, so that it has no step size")
    return [chosen if trial else term.tau for term in known.proximal(stage)]


def _energy(known: Known, stage: Stage, line: Any, begin: Any) -> Any:
    """The energy of a step along a line of policies; what its terms measured once is taken at `begin`."""
    terms = {name: _many(term) for name, term in (stage.step.energy or {}).items()}
    size, key = known.target.dimensions, jax.random.key(0)
    here = Context(jnp.zeros((1, 0)), jnp.zeros((1, size)), known.spec.policy, _q(known.target), None)

    def value(policy: Any, first: Any) -> Any:  # the same samples at every point, so that the line is smooth
        policy, first = (jax.tree.map(lambda leaf: leaf[None], part) for part in (policy, first))
        fixed = {name: term.begin(first, here, key) for name, term in terms.items()}
        return energy_rows(Problem(terms, (), None), policy, here._replace(fixed=fixed), key)[0]

    every = jax.vmap(value)
    # point by point: all at once would take gigabytes where a model is sampled
    return jax.jit(lambda points, start: jax.lax.map(lambda policies: every(policies, start), points))(line, begin)


def _q(target: Any) -> Any:
    return lambda actions, count=None, slow=False: target.log_density(actions)[None]


def _many(term: Any) -> Any:
    """A term by many samples in the place of few."""
    if isinstance(getattr(term, "actions", None), Sample):
        return dataclasses.replace(term, actions=Sample(max(term.actions.sample, SAMPLES)))
    return term
