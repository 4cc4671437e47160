"""Points at which a scheme looks at a reference: samples, pairs of them, or a grid of Gauss-Hermite nodes."""

from __future__ import annotations

from typing import Annotated, Any

import equinox as eqx
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


Points = Sample | Hermite | Antithetic


def count_of(points: Points, act_dim: int) -> int:
    """Points in a state."""
    if isinstance(points, Antithetic):
        return 2 * points.antithetic
    return points.sample if isinstance(points, Sample) else points.hermite**act_dim


def too_many(points: Points, act_dim: int) -> str | None:
    """Why a grid is larger than memory should hold."""
    if not isinstance(points, Hermite) or count_of(points, act_dim) <= MOST_NODES:
        return None
    grid = f"found a grid of {points.hermite}^{act_dim} nodes in {act_dim} dimensions"
    return f"{grid}, allowed up to {MOST_NODES:,}; use fewer, or {{sample: n}}"


def noise_at(points: Points, reference: Any, key: Key) -> tuple[Actions, Values]:
    """Standard normal points [n, ..., d] of a reference and their weights [n], of sum 1."""
    like = noise_of(reference)
    size, dtype = like.shape[-1], like.dtype
    if isinstance(points, Sample):
        return normals(reference, points.sample, key), jnp.full(points.sample, 1 / points.sample, dtype)
    if isinstance(points, Antithetic):
        half, count = normals(reference, points.antithetic, key), count_of(points, size)
        return jnp.concatenate([half, -half]), jnp.full(count, 1 / count, dtype)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points.hermite)
    grid = np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), -1).reshape(-1, size)
    shares = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * size, indexing="ij"), -1), -1).ravel()
    z = jnp.asarray(grid, dtype).reshape(-1, *(1,) * (len(like.shape) - 1), size)
    return jnp.broadcast_to(z, (len(grid), *like.shape)), jnp.asarray(shares, dtype)
