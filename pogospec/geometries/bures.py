"""The squared 2-Wasserstein distance of centred Gaussians N(0, L_p L_p^T) and N(0, L_q L_q^T): Bures's distance.

It is the least |L_p - L_q Q|^2 over orthogonal Q (Bhatia, Jain and Lim 2019), reached at the polar factor Q of
L_q^T L_p; the derivative at the least is that at fixed Q. Nothing is squared but the gap itself, and no eigenvalues
are differentiated, so that equal, nearly equal and degenerate covariances are safe.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pogospec.geometries.full_gaussians import Matrix, factor_gap
from pogospec.policies.base import FullNormal
from pogospec.types import Values


@jax.custom_jvp
def bures_squared(p: FullNormal, q: FullNormal) -> Values:
    """Squared distance of the centred Gaussians, with digits where they are close; the means do not enter."""
    return _squared(p, q, turn(p, q))


def _squared(p: FullNormal, q: FullNormal, turned: Matrix) -> Values:
    """|L_p - L_q Q|^2 with Q = 1 + turned."""
    return jnp.square(factor_gap(p, q) - q.factor() @ turned).sum((-2, -1))


@bures_squared.defjvp
def _bures_squared_jvp(primals, tangents):
    turned = turn(*primals)
    return jax.jvp(lambda p, q: _squared(p, q, turned), primals, tangents)


@jax.custom_jvp
def turn(p: FullNormal, q: FullNormal) -> Matrix:
    """Q - 1 of the polar factor Q of L_q^T L_p, with digits where the factors are close.

    The singular vectors know Q to rounding; a Newton step on Q^T L_q^T L_p symmetric and Q^T Q = 1, both written in
    Q - 1 and L_p - L_q, gives the digits of a Q near 1.
    """
    lq = q.factor()
    q_p, q_q = _t(lq) @ factor_gap(p, q), _t(lq) @ lq
    u, s, v = jnp.linalg.svd(_t(lq) @ p.factor())
    identity = jnp.eye(s.shape[-1], dtype=s.dtype)
    e = u @ v - identity
    twist = q_p + _t(e) @ q_q + _t(e) @ q_p
    twist = twist - _t(twist)
    stretch = -(e + _t(e) + _t(e) @ e) / 2
    h = _t(v) @ (s[..., None] * v)
    return e + (e + jnp.eye(s.shape[-1], dtype=s.dtype)) @ (
        stretch + _lyapunov(s, v, twist + stretch @ h - h @ stretch)
    )


@turn.defjvp
def _turn_jvp(primals, tangents):
    def product(p, q):
        return _t(q.factor()) @ p.factor()

    turned = turn(*primals)
    whole, change = jax.jvp(product, primals, tangents)
    _, s, v = jnp.linalg.svd(whole)
    rotation = turned + jnp.eye(s.shape[-1], dtype=s.dtype)
    twist = _t(rotation) @ change
    return turned, rotation @ _lyapunov(s, v, twist - _t(twist))


def _lyapunov(s, v, right: Matrix) -> Matrix:
    """The skew Y with H Y + Y H = right, H = v^T diag(s) v; 0 where H is singular."""
    sums = s[..., :, None] + s[..., None, :]
    inside = v @ right @ _t(v)
    return _t(v) @ jnp.where(sums > 0, inside / jnp.where(sums > 0, sums, 1.0), 0.0) @ v


def _t(matrix: Matrix) -> Matrix:
    return jnp.swapaxes(matrix, -1, -2)
