"""Batch and match: the Gaussian whose score matches that of exp(Q/lambda) at a batch of points, near the reference.

Cai et al., "Batch and match: black-box variational inference with a score-based divergence" (2024). With points a_k of
the reference N(m, S), weights w_k and scores v_k = grad Q(a_k)/lambda the step of length tau is the least of

    1/2 sum_k w_k |grad log q(a_k) - v_k|^2_{S_q} + KL(N(m, S) || q)/tau

over Gaussians q = N(m_q, S_q), |x|^2_S = x^T S x: half the covariance-weighted Fisher divergence, and the proximal term
of KL from the reference; the paper's lambda_t is tau. With the means a, v and the covariances C, G of points and scores

    S+ U S+ + S+ = V,    U = tau G + tau/(1 + tau) v v^T,    V = S + tau C + tau/(1 + tau) (m - a) (m - a)^T,
    m+ = m/(1 + tau) + tau/(1 + tau) (S+ v + a).

Of a Gaussian with independent dimensions the same holds with the diagonals of U and V, dimension by dimension. It asks
for first derivatives alone, of fewer points than dimensions too, comes to rest at once at a Gaussian whose score it is,
and stays positive definite at any length. S = L L^T, K the Cholesky factor of L^-1 V L^-T and w, W the
eigenvalues and axes of (L K)^T U L K give S+ = (L K W) diag(2/(1 + (1 + 4 w)^(1/2))) (L K W)^T.

Of a covariance of low rank: `pogospec/steps/patch.py`. How steps are shortened, and what sets or follows the Gaussian:
`pogospec/steps/closed.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import jax.numpy as jnp

from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, Sample
from pogospec.steps.closed import GAUSSIANS, AbstractClosed, shortened, triangular
from pogospec.steps.patch import low_rank_moved, seen, times
from pogospec.steps.points import Antithetic, Hermite, Points
from pogospec.types import Actions, Values


class Moments(NamedTuple):
    """Of points z and gradients, both in units of the factor: means [..., d], covariances [..., d, d].

    Of a Gaussian with independent dimensions variances [..., d].
    """

    middle: Any
    spread: Any
    level: Any  # L^T E[grad Q]
    slopes: Any  # L^T Cov[grad Q] L


class BatchAndMatch(AbstractClosed):
    """Batch and match: proximal step of the score-based divergence in KL(reference || policy), in closed form."""

    warm: ClassVar[bool] = True
    families: ClassVar[tuple[type, ...]] = (*GAUSSIANS, LowRankNormal)

    actions: Annotated[
        Antithetic | Sample | Hermite | None,
        "points of the reference in each state: {antithetic: n} pairs, {sample: n}, or {hermite: n}: a grid of n^d; "
        "default: as many pairs as dimensions, 8 at least",
    ] = None

    def points(self, act_dim: int) -> Points:
        """Where the reference is looked at."""
        return Antithetic(max(8, act_dim)) if self.actions is None else self.actions

    def look(self, velocity: Callable[[Actions], Actions], reference: Any, z: Actions, shares: Values) -> Any:
        """Means and covariances of points and gradients; both themselves where covariances are of low rank."""
        if isinstance(reference, LowRankNormal):
            return seen(velocity, reference, z, shares)
        gradients, own = velocity(reference.at(z)), isinstance(reference, DiagonalNormal)
        if own:
            gradients = jnp.exp(reference.log_std) * gradients
        else:
            gradients = jnp.einsum("...ji,n...j->n...i", reference.factor(), gradients)
        return Moments(*_moments(z, shares, own), *_moments(gradients, shares, own))

    def moved(self, reference: Any, found: Any, length: Any, heat: Any) -> Any:
        """The next Gaussian."""
        by_row = jnp.atleast_1d(length)
        if isinstance(reference, LowRankNormal):
            return low_rank_moved(reference, found, by_row, heat)
        level, share = found.level / heat, by_row / (1 + by_row)
        if isinstance(reference, DiagonalNormal):
            pull = by_row * found.slopes / heat**2 + share * level**2
            hold = 1 + by_row * found.spread + share * found.middle**2
            squares = hold * _least(pull * hold)
            moved = share * (squares * level + found.middle)
            std = jnp.exp(reference.log_std)
            return DiagonalNormal(reference.mean + std * moved, reference.log_std + jnp.log(squares) / 2)
        pull = by_row[..., None] * found.slopes / heat**2 + share[..., None] * _outer(level)
        hold = by_row[..., None] * found.spread + share[..., None] * _outer(found.middle)
        root = jnp.linalg.cholesky(jnp.eye(hold.shape[-1], dtype=hold.dtype) + hold)
        values, axes = jnp.linalg.eigh(jnp.swapaxes(root, -1, -2) @ pull @ root)
        root = root @ axes * jnp.sqrt(_least(jnp.maximum(values, 0.0)))[..., None, :]
        moved = share * (times(root, times(jnp.swapaxes(root, -1, -2), level)) + found.middle)
        factor = reference.factor()
        return FullNormal(reference.mean + times(factor, moved), *triangular(factor @ root))

    def taken(
        self, move: Callable[[Any], Any], length: Any, rise: Callable[[Any], Values], heat: Any, reference: Any
    ) -> Any:
        """The Gaussian of the longest of length, length/4, ... that raises the energy by no more than a nat, if any."""
        return shortened(move, length, rise, heat, reference)


def _moments(rows: Any, shares: Values, own: bool) -> tuple[Any, Any]:
    """Mean [..., d] and covariance [..., d, d] of weighted rows [n, ..., d]; `own`: variances [..., d]."""
    mean = jnp.tensordot(shares, rows, 1)
    if own:
        return mean, jnp.tensordot(shares, jnp.square(rows - mean), 1)
    return mean, jnp.einsum("n,n...i,n...j->...ij", shares, rows - mean, rows - mean)


def _least(x: Any) -> Any:
    """The root s of s x s + s = 1."""
    return 2 / (1 + jnp.sqrt(1 + 4 * x))


def _outer(vector: Any) -> Any:
    return vector[..., :, None] * vector[..., None, :]
