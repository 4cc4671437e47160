"""Batch and match of a Gaussian of low rank beside its diagonal, at a cost that is linear in the dimensions.

Modi et al., "Batch, match, and patch: low-rank approximations for score-based variational inference" (2025). In
coordinates in which the reference is N(0, I), U = Q Q^T and V = I + R R^T with a column for each point and one for the
means, and the step S+ U S+ + S+ = V of `batch_and_match` is

    S+ = V - V Q (I/2 + (Q^T V Q + I/4)^(1/2))^-2 Q^T V.

In units of the reference's stds that is I + C J C^T, J a diagonal of signs. Taken is the N(0, diag(psi) + L L^T) of
rank r nearest to it in KL(N(0, S+) || ·): from the r largest eigenvalues of C J C^T by steps of expectation
maximisation of factor analysis (Rubin and Thayer, 1982), none of which moves away. The mean follows as in the step
without low rank, with that covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pogospec.policies.base import LowRankNormal
from pogospec.roots import rooted
from pogospec.types import Actions, Values

SWEEPS = 30
"""Steps of expectation maximisation."""


class Batch(NamedTuple):
    """Points z and gradients of Q there, [..., n, d] each, and what each point counts [..., n]."""

    z: Any
    gradients: Any
    shares: Any


def seen(velocity: Callable[[Actions], Actions], reference: LowRankNormal, z: Actions, shares: Values) -> Batch:
    """A batch, its points behind the rows."""
    rows = reference.mean.shape[:-1]
    gradients = velocity(reference.at(z))
    counts = jnp.broadcast_to(shares, (*rows, len(shares)))
    return Batch(jnp.moveaxis(z, 0, -2), jnp.moveaxis(gradients, 0, -2), counts)


def low_rank_moved(reference: LowRankNormal, batch: Batch, length: Any, heat: Any) -> LowRankNormal:
    """The next Gaussian of the same rank; `length` [..., 1] or [1], that of the step, `heat`: lambda."""
    std, loadings = jnp.exp(reference.log_std), reference.loadings
    share = length / (1 + length)
    scores = batch.gradients / heat
    level = jnp.einsum("...n,...nd->...d", batch.shares, scores)
    inward = _rows(loadings, std[..., None, :] * scores)
    hold, middle = _columns(batch.z, batch.shares, length, share)
    pull, _ = _columns(inward, batch.shares, length, share)
    both = pull + hold @ (jnp.swapaxes(hold, -1, -2) @ pull)  # V Q
    values, axes = jnp.linalg.eigh(jnp.swapaxes(pull, -1, -2) @ both)
    away = both @ axes / (0.5 + jnp.sqrt(jnp.maximum(values, 0.0) + 0.25))[..., None, :]
    columns = jnp.concatenate([loadings, _along(loadings, hold), _along(loadings, away)], -1)
    signs = jnp.concatenate([jnp.ones(columns.shape[-1] - away.shape[-1]), -jnp.ones(away.shape[-1])])
    psi, found = nearest(columns, signs.astype(columns.dtype), loadings.shape[-1])
    root = jnp.sqrt(psi)
    new = LowRankNormal(reference.mean, reference.log_std + jnp.log(psi) / 2, found / root[..., None])
    turned = std * level
    pulled = std * (psi * turned + times(found, times(jnp.swapaxes(found, -1, -2), turned)))
    shift = std * rooted(loadings, middle)
    return new._replace(mean=reference.mean + share * (pulled + shift))


def nearest(columns: Any, signs: Any, rank: int, sweeps: int = SWEEPS) -> tuple[Any, Any]:
    """Psi [..., d] and L [..., d, rank] of the N(0, diag(psi) + L L^T) nearest to N(0, I + C J C^T).

    `columns` [..., d, k]: C; `signs` [k]: the diagonal of J, of a sum that is positive definite.
    """
    positive = 1 + (jnp.square(columns) * (signs > 0)).sum(-1)
    least = 1e2 * jnp.finfo(columns.dtype).eps * positive  # what is left of a variance after cancellation
    variances = jnp.maximum(1 + (jnp.square(columns) * signs).sum(-1), least)
    basis, upper = jnp.linalg.qr(columns)
    values, axes = jnp.linalg.eigh((upper * signs) @ jnp.swapaxes(upper, -1, -2))
    kept = min(rank, values.shape[-1])
    loadings = basis @ axes[..., -kept:] * jnp.sqrt(jnp.maximum(values[..., -kept:], 0.0))[..., None, :]
    pad = [(0, 0)] * (loadings.ndim - 1) + [(0, rank - kept)]
    loadings = jnp.pad(loadings, pad)
    identity = jnp.eye(rank, dtype=columns.dtype)

    def sweep(_: int, now: tuple[Any, Any]) -> tuple[Any, Any]:
        psi, loadings = now
        by = loadings / psi[..., None]
        inner = jnp.linalg.inv(identity + jnp.swapaxes(loadings, -1, -2) @ by)
        back = by @ inner  # d to r: E[factors | x] = back^T x
        spread = back + columns @ (signs[:, None] * (jnp.swapaxes(columns, -1, -2) @ back))
        new = spread @ jnp.linalg.inv(inner + jnp.swapaxes(back, -1, -2) @ spread)
        return jnp.maximum(variances - (new * spread).sum(-1), least), new

    psi = jnp.maximum(variances - jnp.square(loadings).sum(-1), least)
    return jax.lax.fori_loop(0, sweeps, sweep, (psi, loadings))


def _columns(points: Any, shares: Any, length: Any, share: Any) -> tuple[Any, Any]:
    """Columns [..., d, n + 1] of length Cov + share mean mean^T, and the mean [..., d]."""
    middle = jnp.einsum("...n,...nd->...d", shares, points)
    gaps = jnp.sqrt(length * shares)[..., None] * (points - middle[..., None, :])
    own = jnp.sqrt(share) * middle
    return jnp.swapaxes(jnp.concatenate([gaps, own[..., None, :]], -2), -1, -2), middle


def _rows(loadings: Any, points: Any) -> Any:
    """The symmetric root times each of points [..., n, d]."""
    return jnp.moveaxis(rooted(loadings, jnp.moveaxis(points, -2, 0)), 0, -2)


def _along(loadings: Any, columns: Any) -> Any:
    """The same of columns [..., d, k]."""
    return jnp.moveaxis(rooted(loadings, jnp.moveaxis(columns, -1, 0)), 0, -1)


def times(matrix: Any, vector: Any) -> Any:
    """The product with a vector [..., n]."""
    return (matrix @ vector[..., None])[..., 0]
