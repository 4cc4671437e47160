"""Where a flow starts: at a maximum with its curvature, or at what NumPyro's guides have learned."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.autoguide import (
    AutoContinuous,
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuide,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from scipy.optimize import minimize

from pogospec.compiler.program import Program, State
from pogospec.errors import RunError, UsageError
from pogospec.policies.base import FullNormal, below
from pogospec.spec.schema import Spec
from pogospec.targets.base import AbstractTarget
from pogospec.targets.numpyro import NumpyroTarget
from pogospec.types import Key

ALLOWED = 'a pair (mean, std), "map", or (guide, params) of NumPyro'
TRIED = 32
"""Points of which the search for a maximum begins at the best: 0, and draws of a standard normal."""
MOST = 4096
"""Dimensions up to which a curvature is found."""
FAR = 0.1
"""Nats that a Newton step may still promise at a maximum."""
VECTORS = AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal, AutoLaplaceApproximation
"""Guides of NumPyro that are Gaussians of one vector."""
BLOCK = 16
"""Columns of a Hessian that are computed at once."""


class Start(NamedTuple):
    """A Gaussian: mean [d], and covariance [d, d] or variances [d], float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """Standard deviation [d] of each dimension where the others stand still: the nearest with independent ones."""
        if self.covariance.ndim == 1:
            return np.sqrt(self.covariance)
        return 1 / np.sqrt(np.diag(np.linalg.inv(self.covariance)))


def found(start: Any, target: AbstractTarget, temperature: float, key: Key) -> Start | None:
    """The Gaussian that a start stands for; None of a pair of numbers or lists. Raises UsageError and RunError."""
    heat = temperature if temperature > 0 else 1.0
    if isinstance(start, str):
        if start != "map":
            raise UsageError(f"start: found {start!r}, allowed {ALLOWED}")
        return _curved(target, _maximum(target, key), heat, reached=True)
    if not isinstance(start, tuple | list) or len(start) != 2:
        raise UsageError(f"start: found {start!r}, allowed {ALLOWED}")
    if not isinstance(start[0], AutoGuide):
        return None
    if not isinstance(target, NumpyroTarget):
        raise UsageError("start: found a guide, allowed for flows of NumPyro models")
    return _of_guide(start[0], getattr(start[1], "params", start[1]), target, heat)


def begun(program: Program, spec: Spec, start: Start | None) -> Program:
    """The program that begins with the correlations of a start, where its family has any."""
    if start is None or start.covariance.ndim == 1 or spec.policy.parameter_type is not FullNormal:
        return program
    factor = np.linalg.cholesky(start.covariance)
    parts = start.mean, np.log(np.diag(factor)), np.asarray(below(jnp.asarray(factor)))
    parameters = FullNormal(*(jnp.asarray(part, float) for part in parts))

    def init(numbers: Any, key: Key) -> State:
        state = program.init(numbers, key)
        policy = spec.policy.assigned(state.policy, parameters)
        return state._replace(policy=policy, behavior=policy, reference=policy)

    return program._replace(init=init)


def _maximum(target: AbstractTarget, key: Key) -> np.ndarray:
    """A maximum [d] of the log density, by L-BFGS from the best of some points."""
    if target.dimensions > MOST:
        found = f"found 'map' in {target.dimensions:,} dimensions"
        raise UsageError(f"start: {found}, allowed up to {MOST:,}, whose curvature is a matrix; use (mean, std)")
    drawn = jax.random.normal(key, (TRIED - 1, target.dimensions))
    points = jnp.concatenate([jnp.zeros((1, target.dimensions), drawn.dtype), drawn])
    values = np.asarray(_values(target.whole(), points))
    if not np.isfinite(values).any():
        raise RunError("start: the log density is finite nowhere near 0; look for NaN in its data, or give (mean, std)")
    best = np.where(np.isfinite(values), values, -np.inf).argmax()

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _with_slope(target.whole(), jnp.asarray(x, points.dtype))
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return 1e300, np.zeros_like(x)
        return -float(value), -np.asarray(slope, float)

    return minimize(loss, np.asarray(points[best], float), jac=True, method="L-BFGS-B", options={"maxiter": 5000}).x


def _curved(target: AbstractTarget, mean: np.ndarray, heat: float, reached: bool) -> Start:
    """Laplace's approximation: the covariance heat (-Hess Q)^-1; 1 along axes in which Q does not bend down.

    `reached`: whether the point is to be a maximum. That of an AutoDelta is one among values of the sites, not here.
    """
    slope, hessian = (np.asarray(x, float) for x in _bent(target.whole(), jnp.asarray(mean, float)))
    if not (np.isfinite(slope).all() and np.isfinite(hessian).all()):
        raise RunError("start: the curvature there is not finite; give (mean, std)")
    values, axes = np.linalg.eigh(-(hessian + hessian.T) / 2)
    bends = values > max(values[-1], 0.0) * 100 * len(mean) * float(jnp.finfo(float).eps)
    along = axes.T @ slope
    promised = (along[bends] ** 2 / values[bends]).sum() / 2
    rising = np.abs(along[~bends]).max(initial=0.0)
    if reached and (promised > FAR or rising > FAR):
        moved = np.abs(axes @ np.where(bends, 0.0, along) if rising > FAR else slope)
        where = _name(target, int(moved.argmax()))
        raise RunError(
            f"start: no maximum was found: the log density still rises along {where} at {mean[moved.argmax()]:.3g}; "
            "give a prior there, or (mean, std)"
        )
    return Start(mean, (axes * np.where(bends, heat / np.where(bends, values, 1.0), 1.0)) @ axes.T)


def _of_guide(guide: AutoGuide, params: Any, target: NumpyroTarget, heat: float) -> Start:
    """The Gaussian of a guide that SVI has learned."""
    kind, names = type(guide).__name__, {site.name for site in target.sites}
    trace: Any = guide.prototype_trace
    if trace is None or not isinstance(params, dict):
        raise UsageError(f"start: found {kind} and {type(params).__name__}, allowed {ALLOWED} after svi.run")
    latent = {name for name, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
    if names - latent:
        lost = ", ".join(sorted(names - latent))
        raise UsageError(f"start: the guide has no site {lost}, allowed a guide of this model")
    try:
        if isinstance(guide, AutoDelta):
            values = {name: value for name, value in guide.median(params).items() if name in names}
            return _curved(target, np.asarray(target.unconstrain(values), float), heat, reached=False)
        if isinstance(guide, AutoNormal):
            parts = [{n: params[f"{n}_{guide.prefix}_{part}"] for n in names} for part in ("loc", "scale")]
            mean, std = (np.asarray(target.joined(part), float) for part in parts)
            return Start(mean, std**2)
        if isinstance(guide, VECTORS):
            return _of_vector(guide.get_posterior(params), positions(guide, target))
    except (KeyError, TypeError, NotImplementedError, AttributeError) as error:
        raise UsageError(f"start: the params are not those of the guide {kind}: {error}") from error
    kinds = ", ".join(one.__name__ for one in (AutoNormal, *VECTORS))
    raise UsageError(f"start: found the guide {kind}, allowed {kinds} and AutoDelta")


def _of_vector(posterior: Any, place: np.ndarray) -> Start:
    """The moments of a distribution over the vector of a guide."""
    mean = np.asarray(posterior.mean, float)[place]
    if hasattr(posterior, "covariance_matrix"):
        return Start(mean, np.asarray(posterior.covariance_matrix, float)[place][:, place])
    return Start(mean, np.asarray(posterior.variance, float)[place])


def positions(guide: AutoContinuous, target: NumpyroTarget) -> np.ndarray:
    """Where in the vector of a guide each number of the vector of the flow stands, [d]."""
    parts: Any = guide._unpack_latent(jnp.arange(target.dimensions))
    return np.asarray(target.joined(parts))


def _name(target: AbstractTarget, index: int) -> str:
    """The site that a number of the vector belongs to."""
    return next(name for name, inside in named(target) if index in inside)


def named(target: AbstractTarget) -> list[tuple[str, range]]:
    """Names of the parts of the vector of a target, and where they lie in it."""
    if isinstance(target, NumpyroTarget):
        return [(f"the site {site.name}", range(site.start, site.stop)) for site in target.sites]
    return [(f"dimension {index + 1}", range(index, index + 1)) for index in range(target.dimensions)]


@eqx.filter_jit
def _values(target: AbstractTarget, points: Any) -> Any:
    return target.log_density(points)


@eqx.filter_jit
def _with_slope(target: AbstractTarget, point: Any) -> Any:
    return jax.value_and_grad(target.log_density)(point)


@eqx.filter_jit
def _bent(target: AbstractTarget, point: Any) -> Any:
    """Gradient and Hessian; reverse over reverse, which a custom_vjp allows."""
    slope, back = jax.vjp(jax.grad(target.log_density), point)
    return slope, jax.lax.map(lambda row: back(row)[0], jnp.eye(len(point), dtype=point.dtype), batch_size=BLOCK)
