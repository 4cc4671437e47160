"""What a target is: a known log density Q over actions, and how far a policy is from exp(Q/temperature)/Z.

The energy E[pi] = -E_pi[Q] - temperature H(pi) of a target has its minimum at that density, and
(E[pi] - min E)/temperature = KL(pi || exp(Q/temperature)/Z).
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from functools import lru_cache, singledispatch
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pogospec.policies.base import (
    AbstractPolicy,
    DiagonalNormal,
    FullNormal,
    LowRankNormal,
    Point,
    TanhNormal,
    log_slope,
    noise_of,
    panels,
)
from pogospec.targets.quadrature import TOLERANCE, Box, Moments, find_box, integrate, on_host
from pogospec.types import Actions, Key, Values

NODES = {1: 8193, 2: 193}
"""Nodes along an axis of an expectation over a policy in one or two dimensions."""
REACH = 8.5
"""Nodes lie within this many standard deviations; the mass outside is 2e-17."""
SAMPLES = 2**14
QUANTILES = 2**16

Optimum = tuple[np.ndarray, np.ndarray]
"""Mean [d] and covariance [d, d] of exp(Q/temperature)/Z, float64."""
Table = tuple[np.ndarray, np.ndarray, np.ndarray]


class AbstractTarget(eqx.Module):
    """A log density over actions; unnormalised, of any number of dimensions.

    `log_normalizer`, `optimum` and `box` need concrete numbers and a temperature > 0.
    """

    gaussian: ClassVar[bool] = False  # whether exp(Q/temperature)/Z is Gaussian where it exists
    any_precision: ClassVar[bool] = True  # whether it may be integrated in float64 while all else is float32

    @property
    @abc.abstractmethod
    def dimensions(self) -> int:
        """Number of action dimensions d."""

    @abc.abstractmethod
    def log_density(self, actions: Actions) -> Values:
        """Q in nats, [..., d] -> [...]; of the float type of the actions."""

    @abc.abstractmethod
    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""

    def drawn(self, key: Key, alike: bool) -> AbstractTarget:
        """The target as an update sees it; another with each key where the density is an estimate by minibatches.

        `alike`: whether all actions see the same minibatch, which comparing them asks for.
        """
        return self

    def whole(self) -> AbstractTarget:
        """The target without estimates."""
        return self

    def box(self, temperature: float) -> Box | None:
        """Where exp(Q/temperature) has its mass, in one or two dimensions; None where it is not found."""
        if temperature <= 0:
            return None
        return find_box(on_host(concrete(self).log_density, temperature, _double(self)), self.dimensions)

    def log_normalizer(self, temperature: float) -> float | None:
        """Log Z, Z = integral of exp(Q/temperature); by quadrature unless a variant knows it, None where unknown."""
        found = _moments(concrete(self), float(temperature), _double(self))
        return None if found is None else found.log_normalizer

    def optimum(self, temperature: float) -> Optimum | None:
        """Mean and covariance of exp(Q/temperature)/Z; by quadrature unless a variant knows them, None where unknown.

        A variant that knows them may give their limit at temperature 0 too.
        """
        found = _moments(concrete(self), float(temperature), _double(self))
        return None if found is None else (found.mean, found.covariance)


def concrete(target: AbstractTarget) -> Any:
    """A target whose numbers may be arrays, with floats in their place."""
    return jax.tree.map(lambda leaf: float(leaf) if hasattr(leaf, "dtype") else leaf, target)


def _double(target: AbstractTarget) -> bool:
    return target.any_precision or bool(jax.config.read("jax_enable_x64"))


@lru_cache(maxsize=64)
def _moments(target: AbstractTarget, temperature: float, double: bool) -> Moments | None:
    return integrate(on_host(target.log_density, temperature, double), target.box(temperature), TOLERANCE[double])


def shown(values: Iterable[Any]) -> str:
    """Numbers and lists of numbers for people: (0, 1.5)."""
    return f"({', '.join(shown(v) if isinstance(v, tuple) else f'{float(v):g}' for v in values)})"


def free_energy(target: AbstractTarget, temperature: Any, parameters: Any, key: Key) -> Values:
    """E_pi[log pi - Q/temperature] of each row: KL(pi || exp(Q/temperature)/Z) - log Z; minus the ELBO at 1.

    Parameters [..., d] with a density and `at(z)`, a diffeomorphism of standard normals z. One or two dimensions: by
    quadrature; more: by 16,384 samples in antithetic pairs with covariance I, the same for every row and key, exact
    for quadratic Q under Gaussians.
    """
    like = noise_of(parameters)
    z, weights = _nodes(target.dimensions, key, like.dtype)
    rows = z.reshape(len(z), *(1,) * (len(like.shape) - 1), z.shape[-1])
    # log pi(at(z)) = log N(z) - log |det d at/dz|, and E log N(z) is minus the entropy of N(0, I)
    log_pi = -0.5 * target.dimensions * jnp.log(2 * jnp.pi * jnp.e) - log_volume(parameters, z)
    value = log_pi - target.log_density(parameters.at(rows)) / temperature
    return jnp.tensordot(weights, value, 1)


def kl_to_optimum(
    target: AbstractTarget, temperature: float, family: AbstractPolicy, parameters: Any, key: Key
) -> Values | None:
    """KL(pi || exp(Q/temperature)/Z) of each row in nats; None where Z is unknown or the family has no density."""
    log_normalizer = target.log_normalizer(temperature) if family.has_density else None
    return None if log_normalizer is None else free_energy(target, temperature, parameters, key) + log_normalizer


def w2_to_optimum(target: AbstractTarget, temperature: float, parameters: Any) -> Values | None:
    """W2(pi, exp(Q/temperature)/Z) of each row; None where it is not known.

    Known: a point and any optimum with moments; a Gaussian and a Gaussian optimum; a tanh-Gaussian and a diagonal
    Gaussian optimum; in one dimension, any of these and any optimum.
    """
    if isinstance(parameters, Point) or target.gaussian:
        optimum = target.optimum(temperature)
        return None if optimum is None else _w2_by_moments(optimum, parameters)
    if target.dimensions == 1 and isinstance(parameters, DiagonalNormal | FullNormal | TanhNormal):
        table = _quantiles(concrete(target), float(temperature), _double(target))
        return None if table is None else _w2_by_quantiles(*table, parameters)
    return None


@singledispatch
def log_volume(parameters: Any, z: Array) -> Array:
    """Log |det d at(z)/dz| at nodes z [n, d] for parameters [..., d]; [n, ...]."""
    function = lambda p, x: jnp.linalg.slogdet(jax.jacfwd(p.at)(x))[1]  # noqa: E731
    for _ in range(len(noise_of(parameters).shape) - 1):
        function = jax.vmap(function, (0, None))
    return jax.vmap(function, (None, 0))(parameters, z)


@log_volume.register
def _(parameters: DiagonalNormal, z):
    volume = parameters.log_std.sum(-1)
    return jnp.broadcast_to(volume, (len(z), *volume.shape))


@log_volume.register
def _(parameters: FullNormal, z):
    volume = parameters.log_diagonal.sum(-1)
    return jnp.broadcast_to(volume, (len(z), *volume.shape))


@log_volume.register
def _(parameters: LowRankNormal, z):
    volume = parameters.log_volume()
    return jnp.broadcast_to(volume, (len(z), *volume.shape))


@log_volume.register
def _(parameters: TanhNormal, z):
    rows = z.reshape(len(z), *(1,) * (parameters.mean.ndim - 1), z.shape[-1])
    before = parameters.mean + jnp.exp(parameters.log_std) * rows
    return (parameters.log_std + log_slope(before)).sum(-1)  # the slope 1 - tanh^2 itself rounds to 0


def _nodes(dimensions: int, key: Key, dtype: Any) -> tuple[Any, Any]:
    """Standard normal nodes [n, d] and their weights [n].

    Equal spacing rather than Gauss-Hermite nodes: both are exact to rounding for what is smooth on the scale of the
    policy, and close nodes see the narrow ridges of a mixture.
    """
    if dimensions in NODES:
        axis = np.linspace(-REACH, REACH, NODES[dimensions])
        z = np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)
        weights = np.exp(-0.5 * np.square(z).sum(-1))
        return jnp.asarray(z, dtype), jnp.asarray(weights / weights.sum(), dtype)
    half = jax.random.normal(key, (SAMPLES // 2, dimensions), dtype)
    root = jnp.linalg.cholesky(half.T @ half / len(half))
    half = jax.scipy.linalg.solve_triangular(root, half.T, lower=True).T
    return jnp.concatenate([half, -half]), jnp.full(SAMPLES, 1 / SAMPLES, dtype)


def _w2_by_moments(optimum: Optimum, p: Any) -> Values | None:
    """W2 to a Gaussian, or of a point to any law with these moments."""
    center, covariance = (jnp.asarray(part, p.mean.dtype) for part in optimum)
    means = jnp.square(p.mean - center).sum(-1)
    if isinstance(p, Point):
        return jnp.sqrt(means + jnp.trace(covariance))
    values, vectors = np.linalg.eigh(optimum[1])
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    if isinstance(p, DiagonalNormal) or hasattr(p, "factor"):
        identity = jnp.eye(len(root), dtype=p.mean.dtype)
        factor = jnp.exp(p.log_std)[..., None] * identity if isinstance(p, DiagonalNormal) else p.factor()
        return jnp.sqrt(means + _bures_squared(factor, jnp.asarray(root, p.mean.dtype)))
    if isinstance(p, TanhNormal) and np.count_nonzero(optimum[1] - np.diag(np.diag(optimum[1]))) == 0:
        z, weights = panels(p)
        gaps = p.at(z) - (center + jnp.sqrt(jnp.diag(covariance)) * z)
        return jnp.sqrt((weights * jnp.square(gaps)).sum((0, -1)))
    return None


def _bures_squared(factor: Any, root: Any) -> Values:
    """W2^2 of N(0, factor factor^T) and N(0, root root^T) as a square, so that small distances keep their digits.

    min over orthogonal U of |factor - root U|^2, reached at the polar factor of root^T factor.
    """
    u, _, v = jnp.linalg.svd(root.T @ factor)
    return jnp.square(factor - root @ (u @ v)).sum((-2, -1))


@lru_cache(maxsize=16)
def _quantiles(target: AbstractTarget, temperature: float, double: bool) -> Table | None:
    """Points x of the optimum in one dimension, standard normal quantiles z at its F(x), and masses; each [n]."""
    box = target.box(temperature)
    if box is None:
        return None
    x = np.linspace(box.low[0], box.high[0], QUANTILES)
    values = on_host(target.log_density, temperature, double)(x[:, None])
    mass = np.exp(values - values.max())
    mass /= mass.sum()
    below = np.cumsum(mass) - mass / 2
    above = np.cumsum(mass[::-1])[::-1] - mass / 2
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        lower, upper = (np.asarray(jax.scipy.special.ndtri(np.minimum(tail, 0.5))) for tail in (below, above))
    z = np.where(below < above, lower, -upper)  # from the nearer tail, which keeps its digits
    return x, np.clip(z, -30.0, 30.0), mass  # there is no mass beyond, but infinity is not a number to calculate with


def _w2_by_quantiles(x: np.ndarray, z: np.ndarray, mass: np.ndarray, p: Any) -> Values:
    """W2^2 = E_x (F_pi^-1(F(x)) - x)^2 over the optimum."""
    shape, dtype = (-1, *(1,) * p.mean.ndim), p.mean.dtype
    gaps = p.at(jnp.asarray(z, dtype).reshape(shape)) - jnp.asarray(x, dtype).reshape(shape)
    return jnp.sqrt(jnp.tensordot(jnp.asarray(mass, dtype), jnp.square(gaps[..., 0]), 1))
