"""What several geometries of Gaussians with full covariance S = L L^T share.

Divergences are written with one factor in units of the other, V = L_q^-1 L_p - 1 and U = L_p^-1 L_q - 1, each from
differences, so that small gaps keep their digits. The mean S' of two covariances is L_q (1 + X) L_p^T with
X = (V + U^T)/2, whose elimination gives the affinity without cancellation:

    -log BC = 1/2 log det(1 + X) + 1/8 (m_p - m_q)^T S'^-1 (m_p - m_q)

The tangent dL = L F of the factor has Y = F + F^T in whitened coordinates. With w the eigenvalues of S, V_S its
eigenvectors and U_S those of L^T L, every metric of this package is diagonal in V_S^T dm and U_S^T Y U_S:

    Fisher         sum_i dm_i^2 / w_i + 1/2 sum_ij Y_ij^2
    Wasserstein-2  sum_i dm_i^2 + 1/2 sum_ij Y_ij^2 w_i w_j / (w_i + w_j)
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from pogospec.geometries.base import Frame, divergence, frame, inverse_metric
from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, below, triangle
from pogospec.types import Actions, Values

Matrix = Float[Array, "*batch act act"]


PAIRS = [
    pair for pair in product((FullNormal, LowRankNormal, DiagonalNormal), repeat=2) if pair != (DiagonalNormal,) * 2
]
"""Pairs of Gaussians of which one has correlations."""


def register_full(kind: str, function) -> None:
    """Register a divergence of a density geometry for pairs with a Gaussian of correlations, and the Fisher metric."""
    for pair in PAIRS:
        divergence(kind, *pair)(lambda geometry, p, q: function(geometry, full(p), full(q)))
    inverse_metric(kind, FullNormal)(_inverse_fisher)


def full(p: Any) -> FullNormal:
    """A Gaussian as one with full covariance."""
    if isinstance(p, FullNormal):
        return p
    if isinstance(p, LowRankNormal):
        return p.whole()
    size = p.mean.shape[-1]
    return FullNormal(p.mean, p.log_std, jnp.zeros((*p.mean.shape[:-1], size * (size - 1) // 2), p.mean.dtype))


def factor_gap(p: FullNormal, q: FullNormal) -> Matrix:
    """L_p - L_q, with the digits of the log-diagonals."""
    diagonal = jnp.exp(q.log_diagonal) * jnp.expm1(p.log_diagonal - q.log_diagonal)
    return triangle(diagonal, p.lower - q.lower)


def whitened(p: FullNormal, q: FullNormal) -> tuple[Actions, Matrix]:
    """L_q^-1 (m_p - m_q) and L_q^-1 L_p - 1."""
    columns = jnp.concatenate([(p.mean - q.mean)[..., None], factor_gap(p, q)], -1)
    solved = solve_triangular(q.factor(), columns, lower=True)
    return solved[..., 0], solved[..., 1:]


def bhattacharyya_full(p: FullNormal, q: FullNormal) -> Values:
    """-log of the affinity, by elimination of 1 + X bordered by the whitened gaps of the means."""
    by_q, v = whitened(p, q)
    by_p, u = whitened(q, p)
    x = below(v) / 2, below(u) / 2, 2 * jnp.square(jnp.sinh((p.log_diagonal - q.log_diagonal) / 2))
    rest = triangle(x[2], x[0]) + jnp.swapaxes(triangle(jnp.zeros_like(x[2]), x[1]), -1, -2)
    rest = jnp.concatenate([rest, by_p[..., None, :]], -2)
    rest = jnp.concatenate([rest, jnp.concatenate([by_q, jnp.zeros_like(by_q[..., :1])], -1)[..., None]], -1)
    volume = jnp.zeros(rest.shape[:-2], rest.dtype)
    for _ in range(rest.shape[-1] - 1):
        pivot = rest[..., :1, :1]  # less 1
        rest = rest[..., 1:, 1:] - rest[..., 1:, :1] * rest[..., :1, 1:] / (1 + pivot)
        volume += jnp.log1p(pivot[..., 0, 0])
    return volume / 2 + rest[..., 0, 0] / 8


class Spectrum(NamedTuple):
    """Factors or components in the frame of a full Gaussian: of its mean [..., act], its shape [..., act, act]."""

    mean: Any
    shape: Any


def eigenvalues(p: FullNormal) -> Actions:
    """Eigenvalues of the covariance, in the order of the frame."""
    return jnp.square(jnp.linalg.svd(p.factor())[1])


@frame(FullNormal)
def _eigenframe(p: FullNormal) -> Frame:
    factor = p.factor()
    left, _, right = jnp.linalg.svd(factor)  # factor = left diag(sqrt w) right

    def inward(gradient: FullNormal) -> Spectrum:
        by_factor = triangle(gradient.log_diagonal * jnp.exp(-p.log_diagonal), gradient.lower)
        whole = jnp.swapaxes(factor, -1, -2) @ by_factor
        shape = symmetric(whole)
        return Spectrum(_times(jnp.swapaxes(left, -1, -2), gradient.mean), right @ shape @ jnp.swapaxes(right, -1, -2))

    def outward(tangent: Spectrum) -> FullNormal:
        y = jnp.swapaxes(right, -1, -2) @ tangent.shape @ right
        diagonal = jnp.diagonal(y, axis1=-2, axis2=-1) / 2
        return FullNormal(_times(left, tangent.mean), diagonal, below(factor @ triangle(diagonal, below(y))))

    return Frame(inward, outward)


def symmetric(matrix: Matrix) -> Matrix:
    """The symmetric matrix with the same entries on and below the diagonal."""
    lower = jnp.tril(matrix, -1)
    return jnp.tril(matrix) + jnp.swapaxes(lower, -1, -2)


def _times(matrix: Matrix, vector: Actions) -> Actions:
    return (matrix @ vector[..., None])[..., 0]


def _inverse_fisher(geometry, p: FullNormal, clip) -> Spectrum:
    """Eigenvalues of the covariance on the mean, within the clip; 1 on the whitened shape."""
    w = eigenvalues(p)
    return Spectrum(jnp.clip(w, *clip), jnp.ones((*w.shape, w.shape[-1]), w.dtype))
