"""Points at which a scheme looks at a reference: samples, pairs of them, rotated axes, or a Gauss-Hermite grid."""

from __future__ import annotations

from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.policies.base import Sample, noise_of, normals
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values

MOST_NODES = 1_000_000
"""Nodes of a grid in one state, at most."""


class Hermite(eqx.Module):
    """Expectations over a policy by a tensor grid of Gauss-Hermite nodes."""

    hermite: Annotated[int, Within(ge=2, le=128), "nodes along each action dimension"]


class Antithetic(eqx.Module):
    """Expectations over a Gaussian by pairs of samples on both sides of its mean; exact for odd functions about it."""

    antithetic: Annotated[int, Within(ge=1), "pairs of points at z and -z, z standard normal"]


class Rotated(eqx.Module):
    """Expectations over a Gaussian by its mean and pairs of points along axes that are rotated at random.

    Of each rotation: z = +-r_i q_i along the d columns q_i of a random orthogonal matrix with share 1/(2 r_i^2), r_i
    chi-distributed with d + 2 degrees of freedom, and z = 0 with what is left of 1: the stochastic spherical-radial
    rule of degree 3 of Genz and Monahan, "Stochastic integration rules for infinite regions" (1998), with a radius for
    each axis. Exact for polynomials of degree 3 in every draw, and without bias for all functions. The plane nearest to
    grad Q has no bias either, neither in its level E[grad Q] nor, by Stein's identity, in its slopes E[Hess Q].
    """

    rotated: Annotated[
        int, Within(ge=1), "rotations, each of 2d points along d axes in random directions; and the mean, a point more"
    ]


Points = Sample | Hermite | Antithetic | Rotated


def count_of(points: Points, act_dim: int) -> int:
    """Points in a state."""
    if isinstance(points, Antithetic):
        return 2 * points.antithetic
    if isinstance(points, Rotated):
        return 2 * act_dim * points.rotated + 1
    return points.sample if isinstance(points, Sample) else points.hermite**act_dim


def too_many(points: Points, act_dim: int) -> str | None:
    """Why a grid is larger than memory should hold."""
    if not isinstance(points, Hermite) or count_of(points, act_dim) <= MOST_NODES:
        return None
    grid = f"found a grid of {points.hermite}^{act_dim} nodes in {act_dim} dimensions"
    return f"{grid}, allowed up to {MOST_NODES:,}; use fewer, or {{sample: n}}"


def noise_at(points: Points, reference: Any, key: Key) -> tuple[Actions, Values]:
    """Standard normal points [n, ..., d] of a reference and their weights [n], of sum 1.

    Weights are positive, but for that of the mean among rotated axes.
    """
    like = noise_of(reference)
    size, dtype = like.shape[-1], like.dtype
    if isinstance(points, Sample):
        return normals(reference, points.sample, key), jnp.full(points.sample, 1 / points.sample, dtype)
    if isinstance(points, Antithetic):
        half, count = normals(reference, points.antithetic, key), count_of(points, size)
        return jnp.concatenate([half, -half]), jnp.full(count, 1 / count, dtype)
    if isinstance(points, Rotated):
        return _rotated(points.rotated, like, key)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points.hermite)
    grid = np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), -1).reshape(-1, size)
    shares = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * size, indexing="ij"), -1), -1).ravel()
    z = jnp.asarray(grid, dtype).reshape(-1, *(1,) * (len(like.shape) - 1), size)
    return jnp.broadcast_to(z, (len(grid), *like.shape)), jnp.asarray(shares, dtype)


def _rotated(count: int, like: Any, key: Key) -> tuple[Actions, Values]:
    """Pairs along rotated axes, and the mean; each row has its own rotations, and all have the same radii."""
    *rows, size = like.shape
    turn, stretch = jax.random.split(key)
    axes = jnp.linalg.qr(jax.random.normal(turn, (count, *rows, size, size), like.dtype))[0]
    squares = 2 * jax.random.gamma(stretch, size / 2 + 1, (count * size,), like.dtype)  # chi^2, d + 2 degrees
    axes = jnp.moveaxis(axes, -1, 1).reshape(count * size, *like.shape)
    half = jnp.sqrt(squares).reshape(-1, *(1,) * len(like.shape)) * axes
    shares = 1 / (2 * count * squares)
    return (
        jnp.concatenate([half, -half, jnp.zeros((1, *like.shape), like.dtype)]),
        jnp.concatenate([shares, shares, 1 - 2 * shares.sum(keepdims=True)]),
    )
