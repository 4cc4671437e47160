"""The path of a policy as it is shown: parameters and energies at flow times, of a run or of a flow from Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.compile import compile_spec
from pogospec.data.known import lone_state
from pogospec.errors import UsageError
from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, normals
from pogospec.policies.mixtures import Mixture
from pogospec.registry import kind_of
from pogospec.report.figures.continuous import Continuous, continuous, minimum
from pogospec.report.reading.flow import is_target, read_flow
from pogospec.report.reading.known_energy import Compiled, Known
from pogospec.report.reading.names import names_of
from pogospec.runs.directory import RunDirectory
from pogospec.spec.schema import Spec
from pogospec.terminal import command


@dataclass(frozen=True)
class Walked(Compiled):
    """A flow from Python; its policies are at hand."""

    first: Any  # parameters [1, ...] of the start

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The floating-point type of the parameters."""
        with jax.enable_x64(jax.tree.leaves(self.first)[0].dtype == jnp.float64):
            yield

    def parameters(self, label: str) -> Any:
        """Those of the start, which is all that is asked for by its label."""
        return self.first


class Motion(NamedTuple):
    """A policy along flow time; `parameters` have a leading axis of points, as all arrays."""

    label: str
    known: Compiled
    parameters: Any
    times: np.ndarray
    energies: np.ndarray
    kl: np.ndarray | None  # to the optimum in nats, where it is known

    @property
    def dimensions(self) -> int:
        """Of an action."""
        return self.known.target.dimensions

    def line(self) -> Continuous | None:
        """The continuous flow that the steps follow, where it is known."""
        with self.known.precision():
            found = continuous(self.known)
            return None if found is None or self.known.least.why else found


def of_path(spec: Spec, parameters: Any, times: np.ndarray, energies: np.ndarray, kl: Any, label: str) -> Motion:
    """The motion of a flow from Python, whose spec holds its target."""
    target: Any = spec.target
    first = jax.tree.map(lambda leaf: leaf[:1], parameters)
    known = Walked(spec, compile_spec(spec, lone_state(target.dimensions)[1]).stages, first)
    return Motion(label, known, parameters, times, energies, kl)


def of_runs(runs: Sequence[RunDirectory]) -> list[Motion]:
    """The motions of runs on known energies, of the first seed of each; raises UsageError."""
    if not all(is_target(run) for run in runs):
        raise UsageError("path: found runs on data, allowed runs on known energies, whose spec has a target")
    return [_of_run(run, name) for run, name in zip(runs, names_of(runs), strict=True)]


def _of_run(run: RunDirectory, name: str) -> Motion:
    known, flow = Known.open(run), read_flow(run)
    places = [place for place, label in enumerate(flow.labels) if label in known.labels]
    if len(places) < 2:
        how = command("resume", run.path)
        raise UsageError(f"path: {run.path} holds no policy of an Euler step yet; go on with: {how}")
    with known.precision():
        policies = [known.parameters(flow.labels[place]) for place in places]
        parameters = jax.tree.map(lambda *leaves: jnp.stack([leaf[0] for leaf in leaves]), *policies)
    column = {key: flow.columns[key][places, 0] for key in ("flow_time", "energy", "kl_optimum")}
    kl = column["kl_optimum"] if np.isfinite(column["kl_optimum"]).all() else None
    return Motion(name, known, parameters, column["flow_time"], column["energy"], kl)


def told_apart(motions: Sequence[Motion], labels: Sequence[str] | None = None) -> list[Motion]:
    """Motions under the names that they are given; else with their family where two share a name, and a number."""
    names = [motion.label for motion in motions] if labels is None else [*map(str, labels)]
    if labels is None and len({*names}) < len(names):
        families = [kind_of("policy", type(motion.known.spec.policy)) for motion in motions]
        names = [f"{family}, {name}" for family, name in zip(families, names, strict=True)]
    if len({*names}) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    return [motion._replace(label=name) for motion, name in zip(motions, names, strict=True)]


class Fall(NamedTuple):
    """How far each motion has come at its times, and what is known of that."""

    text: str
    logarithmic: bool
    values: list[np.ndarray]
    lines: list[np.ndarray | None]  # of the continuous flow at `grid` of the times
    rates: list[tuple[float, str] | None]  # at which values fall in the end, and the law


def grid(times: np.ndarray) -> np.ndarray:
    """Times of the continuous flow, dense at the beginning, where it is fast."""
    return times[0] + (times[-1] - times[0]) * np.linspace(0, 1, 300) ** 3


def fall_of(motions: Sequence[Motion]) -> Fall:
    """KL to the optimum where all know it, else the energy, above its minimum where all know that."""
    flows = [motion.line() for motion in motions]
    least = [_least(motion) for motion in motions]
    by_kl = all(motion.kl is not None for motion in motions)
    above = not by_kl and None not in least
    lines: list[np.ndarray | None] = []
    values = []
    for motion, flow, low in zip(motions, flows, least, strict=True):
        base = low if above and low is not None else 0.0
        values.append(np.asarray(motion.kl if by_kl else motion.energies - base, float))
        at = grid(motion.times)
        lines.append(None if flow is None else flow.kl(at) if by_kl else flow.energy(at) - base)
    falls = by_kl or above
    rates = [None if flow is None or flow.rate is None or not falls else (flow.rate, f"2 {flow.law}") for flow in flows]
    text = "KL to the optimum [nats]" if by_kl else "energy E above its minimum" if above else "energy E"
    return Fall(text, falls, values, lines, rates)


def _least(motion: Motion) -> float | None:
    with motion.known.precision():
        return minimum(motion.known)


class Ellipse(NamedTuple):
    """A Gaussian, or a component of a mixture, in two dimensions, along the motion."""

    mean: np.ndarray  # [points, 2]
    covariance: np.ndarray  # [points, 2, 2]
    weight: np.ndarray  # [points]


def ellipses(parameters: Any, pair: Sequence[int]) -> list[Ellipse]:
    """Gaussians that the policies are made of, in two of their dimensions; none of other families."""
    which = np.asarray(pair)
    if isinstance(parameters, LowRankNormal):
        std = np.exp(np.asarray(parameters.log_std, float)[:, which])
        rows = std[..., None] * np.asarray(parameters.loadings, float)[:, which]
        covariance = rows @ np.swapaxes(rows, -1, -2) + std[..., None] ** 2 * np.eye(2)
        return [Ellipse(np.asarray(parameters.mean, float)[:, which], covariance, np.ones(len(std)))]
    if isinstance(parameters, FullNormal):
        rows = jax.lax.map(lambda one: one.factor()[which], parameters)
        rows = np.asarray(rows, float)
        mean = np.asarray(parameters.mean, float)[:, which]
        return [Ellipse(mean, rows @ np.swapaxes(rows, -1, -2), np.ones(len(mean)))]
    if isinstance(parameters, DiagonalNormal):
        return [_axis_parallel(parameters.mean, parameters.log_std, np.ones(len(parameters.mean)), which)]
    if isinstance(parameters, Mixture):
        weights = np.exp(np.asarray(parameters.log_weights, float))
        parts = range(weights.shape[-1])
        return [_axis_parallel(parameters.means[:, k], parameters.log_stds[:, k], weights[:, k], which) for k in parts]
    return []


def _axis_parallel(mean: Any, log_std: Any, weight: np.ndarray, which: np.ndarray) -> Ellipse:
    squares = np.exp(2 * np.asarray(log_std, float)[:, which])
    return Ellipse(np.asarray(mean, float)[:, which], squares[..., None] * np.eye(len(which)), weight)


def particles(motion: Motion, count: int) -> np.ndarray:
    """Actions [points, n, d] of the policies at the same noise, so that they can be followed."""
    with motion.known.precision():
        first = jax.tree.map(lambda leaf: leaf[0], motion.parameters)
        z = normals(first, count, jax.random.key(0))
        return np.asarray(jax.jit(lambda path: jax.lax.map(lambda one: one.at(z), path))(motion.parameters), float)
