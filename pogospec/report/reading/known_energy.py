"""A flow on a known energy, a run or one from Python: its spec, its policies, and the optimum that it flows to."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.checking.recorded import reread
from pogospec.compiler.compile import compile_spec
from pogospec.compiler.optimum import Least, least
from pogospec.compiler.program import Stage
from pogospec.data.known import known as one_state
from pogospec.errors import UsageError
from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, Point, TanhNormal, normals, panels
from pogospec.policies.maps import AbstractMap
from pogospec.policies.mixtures import Mixture
from pogospec.policies.particles import Cloud
from pogospec.report.reading.flow import START
from pogospec.runs.directory import RunDirectory
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.schema import Spec
from pogospec.targets.base import Optimum

DRAWN = 4096
"""Actions of a family that has neither density nor moments."""


class Moments(NamedTuple):
    """Of action distributions: mean [..., d] and covariance [..., d, d]."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of each dimension, [..., d]."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))


@dataclass(frozen=True)
class Compiled(abc.ABC):
    """A spec on a known energy and its steps."""

    spec: Spec
    stages: tuple[Stage, ...]

    @property
    def target(self) -> Any:
        """The known energy: Q is its log density."""
        return self.spec.target

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The floating-point type of the run."""
        with jax.enable_x64(self.spec.train.precision == "float64"):
            yield

    def stage(self, label: str) -> Stage:
        """The Euler step of a label."""
        return next(stage for stage in self.stages if stage.label == label)

    def proximal(self, stage: Stage) -> tuple[Any, ...]:
        """The proximal terms of a step, with the step sizes of its repetition."""
        from pogospec.compiler.nodes import proximal_terms

        return tuple(proximal_terms(stage.step, self.stages.index(stage) - stage.source))

    @cached_property
    def least(self) -> Least:
        """The density at which the energy of the last step is least, or why it is not known."""
        return least(self.target, self.spec.policy, self.stages[-1].step)

    @property
    def heat(self) -> float:
        """Lambda of the last step, at which the optimum is taken."""
        return self.least.temperature

    @cached_property
    def optimum(self) -> Optimum | None:
        """Mean and covariance of the optimum of the last step, where it is known."""
        with self.precision():
            return None if self.least.why else self.least.target.optimum(self.heat)

    @cached_property
    def log_normalizer(self) -> float | None:
        """Log Z of the optimum of the last step, where it is known."""
        with self.precision():
            unknown = self.least.why or self.heat <= 0
            return None if unknown else self.least.target.log_normalizer(self.heat)

    @abc.abstractmethod
    def parameters(self, label: str) -> Any:
        """Parameters [seeds, ...] of the policies of a step, or of the start."""

    def moments(self, label: str) -> Moments:
        """Moments of the policies of a step, a row a seed."""
        with self.precision():
            return moments(self.parameters(label))


@dataclass(frozen=True)
class Known(Compiled):
    """A run on a known energy."""

    run: RunDirectory

    @classmethod
    def open(cls, run: RunDirectory) -> Known:
        """Read the spec of a run; raises as `reread` does, and UsageError where it has no target."""
        _, spec = reread(run)
        if spec.target is None:
            raise UsageError(f"{run.path} is no flow on a known energy; its spec has no target")
        return cls(spec, compile_spec(spec, one_state(spec.target, spec.data.dataset).space).stages, run)

    @property
    def labels(self) -> list[str]:
        """The start and the Euler steps whose policies are saved."""
        return [START, *self.run.policies()]

    def parameters(self, label: str) -> Any:
        """Parameters [seeds, ...] of the policies of a step, or of the start."""
        seeds = self.run.manifest["seeds"]
        with self.precision():
            if label == START:
                size = self.target.dimensions
                space = one_state(self.target, "").space
                network = self.spec.policy.init(jax.random.key(0), space)
                placed = self.spec.policy.placed(network, *self.spec.start.moments(size))
                found = self.spec.policy.parameters(placed, jnp.zeros(0))
                return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (seeds, *leaf.shape)), found)
            return parameters_at(self.run, label, np.zeros(0))


def parameters_at(run: RunDirectory, label: str, observation: np.ndarray) -> Any:
    """Parameters [seeds, ...] of the saved policies of all seeds at a raw observation [obs]."""
    saved = SavedPolicy.load(*run.load_policy(label))
    seen = (jnp.asarray(observation) - saved.normalizer.mean) / saved.normalizer.scale
    return jax.vmap(saved.family.parameters, (0, None))(saved.network, seen)


def moments(parameters: Any) -> Moments:
    """Moments of action distributions; those of a tanh-Gaussian by quadrature, those of a map by samples."""
    if isinstance(parameters, AbstractMap | Cloud):
        actions = drawn(parameters)
        gaps = actions - actions.mean(0)
        return Moments(actions.mean(0), np.einsum("n...i,n...j->...ij", gaps, gaps) / len(actions))
    mean = np.asarray(parameters.mean, float)
    if isinstance(parameters, Point):
        return Moments(mean, np.zeros((*mean.shape, mean.shape[-1])))
    if isinstance(parameters, LowRankNormal):
        std, loadings = np.exp(np.asarray(parameters.log_std, float)), np.asarray(parameters.loadings, float)
        factor = std[..., None] * loadings
        return Moments(mean, factor @ np.swapaxes(factor, -1, -2) + _diagonal(std**2))
    if isinstance(parameters, FullNormal):
        factor = np.asarray(parameters.factor(), float)
        return Moments(mean, factor @ np.swapaxes(factor, -1, -2))
    if isinstance(parameters, DiagonalNormal):
        return Moments(mean, _diagonal(np.exp(2 * np.asarray(parameters.log_std, float))))
    if isinstance(parameters, TanhNormal):
        z, weights = (np.asarray(part, float) for part in panels(parameters))
        points = np.asarray(parameters.at(jnp.asarray(z)), float)
        mean = (weights * points).sum(0)
        return Moments(mean, _diagonal((weights * (points - mean) ** 2).sum(0)))
    if isinstance(parameters, Mixture):
        weights, stds = (
            np.exp(np.asarray(parameters.log_weights, float)),
            np.exp(np.asarray(parameters.log_stds, float)),
        )
        gaps = np.asarray(parameters.means, float) - mean[..., None, :]
        within = _diagonal((weights[..., None] * stds**2).sum(-2))
        return Moments(mean, within + np.einsum("...k,...ki,...kj->...ij", weights, gaps, gaps))
    raise UsageError(
        f"the moments of {type(parameters).__name__} policies are not known; allowed families of this package"
    )


def drawn(parameters: AbstractMap | Cloud) -> np.ndarray:
    """Actions [n, ..., d] of a map or of particles, the same noise at each call."""
    return np.asarray(parameters.at(normals(parameters, DRAWN, jax.random.key(0))), float)


def _diagonal(variances: np.ndarray) -> np.ndarray:
    return variances[..., None] * np.eye(variances.shape[-1])


def told(mean: np.ndarray, covariance: np.ndarray) -> str:
    """Moments [d] and [d, d] for people: mean (1, -0.5), std (0.35, 1), and the correlation of two dimensions."""
    std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    text = f"mean ({_numbers(mean)}), std ({_numbers(std)})"
    if len(mean) == 2 and std.min() > 0 and abs(covariance[0, 1]) > 1e-9 * std.prod():
        text += f", correlation {covariance[0, 1] / std.prod():.3g}"
    return text


def _numbers(values: np.ndarray) -> str:
    shown = [f"{0.0 if abs(v) < 5e-13 else v:.4g}" for v in values[:8]]
    return ", ".join([*shown, *["…"] * (len(values) > 8)])
