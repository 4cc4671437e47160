"""The Rao distance of Gaussians with full covariance, whose geodesics are those of a larger symmetric space.

N(m, W W^T), seen from N(0, 1), lifts to G = g g^T, a positive definite matrix of size 2 d + 1 with J G J = G^-1 for the
exchange J of its first and last d coordinates:

    g = [[W^-T, 0, 0], [m^T W^-T, 1, 0], [C W^-T, -m, W]],    C = Z - m m^T / 2,    Z skew.

All Z lie over the same Gaussian, and the projection to the Gaussians is a Riemannian submersion of |log G|^2/4. So the
distance is the least over Z, where the geodesic exp(t log G) is horizontal: the block (3, 1) of log G is 0, and it
projects to the geodesic of the Gaussians (Eriksen 1987; the lift is that of Kobayashi 2023 up to C). With equal means
or in one dimension Z = 0; else Newton's method finds it in a few steps.

log G anticommutes with J, so it is known by the block R [d + 1, d] between the eigenspaces of J. Of g the same block A
has the singular values sinh(r/2) where those of R are r, which keeps their digits at small and at large distances.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.geometries.full_gaussians import whitened
from pogospec.policies.base import FullNormal, below, triangle
from pogospec.types import Actions, Values

NEWTON_STEPS = 24
"""At most; five are usual, and they end where the residual no longer falls."""
CONJUGATE_STEPS = 60


class Velocity(NamedTuple):
    """The initial velocity at N(0, 1) of the geodesic to a Gaussian, and half its squared length."""

    mean: Any  # [..., act]
    covariance: Any  # [..., act, act]
    half_square: Any  # [...]


@jax.custom_jvp
def half_squared_rao_full(p: FullNormal, q: FullNormal) -> Values:
    """d^2/2 of the Rao distance; its derivative is that of the first variation, minus the velocity at either end."""
    return _velocity(p, q).half_square


@functools.partial(half_squared_rao_full.defjvp, symbolic_zeros=True)
def _half_squared_rao_jvp(primals, tangents):
    p, q = primals
    velocity = _velocity(p, q)
    change = jnp.zeros_like(velocity.half_square)
    for index, moved in enumerate(tangents):
        known = [not isinstance(leaf, jax.custom_derivatives.SymbolicZero) for leaf in moved]
        if any(known):  # a frozen reference costs no second log map
            slope = _slope(p, velocity) if index == 0 else _slope(q, _velocity(q, p))
            change += sum((a * b).sum(-1) for a, b, moves in zip(slope, moved, known, strict=True) if moves)
    return velocity.half_square, change


def _slope(p: FullNormal, velocity: Velocity) -> FullNormal:
    """Gradient of d^2/2 in the parameters of the end where the velocity starts."""
    factor = p.factor()
    columns = jnp.concatenate([velocity.mean[..., None], velocity.covariance], -1)
    solved = -jax.scipy.linalg.solve_triangular(factor, columns, trans=1, lower=True)
    by_factor = solved[..., 1:]
    diagonal = jnp.diagonal(by_factor * factor, axis1=-2, axis2=-1)
    return FullNormal(solved[..., 0], diagonal, below(by_factor))


def _velocity(p: FullNormal, q: FullNormal) -> Velocity:
    """At p towards q, in coordinates where p is N(0, 1)."""
    mean, v = whitened(q, p)
    _, u = whitened(p, q)
    found = jnp.vectorize(_log_map, signature="(d),(d,d),(d,d)->(d),(d,d),()")(mean, v, u)
    return _once_differentiable(Velocity(*found))


@jax.custom_jvp
def _once_differentiable(velocity: Velocity) -> Velocity:
    return velocity


@_once_differentiable.defjvp
def _no_second_derivative(primals, tangents):
    raise NotImplementedError("the Rao distance of full Gaussians has no second derivatives here")


class _Lift(NamedTuple):
    """R of one lift, and the eigenvectors of log G in the first and the last d coordinates, with its eigenvalues."""

    r: Float[Array, "d+1 d"]
    first: Float[Array, "d 2d+1"]
    last: Float[Array, "d 2d+1"]
    logs: Float[Array, " 2d+1"]

    def residual(self) -> Float[Array, "d d"]:
        """The block (3, 1) of log G, skew; 0 where the geodesic is horizontal."""
        square = self.r[:-1]
        return (square - square.T) / 2


def _lift(mean: Float[Array, " d"], v: Float[Array, "d d"], u: Float[Array, "d d"], skew: Float[Array, "d d"]) -> _Lift:
    """The lift at Z = skew of N(mean, W W^T), v = W - 1 and u = W^-1 - 1."""
    identity = jnp.eye(len(mean), dtype=mean.dtype)
    inverse = identity + u.T
    sheared = (skew - jnp.outer(mean, mean) / 2) @ inverse
    across = jnp.concatenate([(u.T - v + sheared) / 2, (mean @ inverse)[None] / jnp.sqrt(2.0).astype(mean.dtype)])
    within = (2 * identity + u.T + v - sheared) / 2
    left, s, right = jnp.linalg.svd(across)
    half = jnp.arcsinh(s)
    other = within @ right.T / jnp.sqrt(1 + jnp.square(s))
    up, null = left[:-1, :-1], left[:-1, -1:]
    root = jnp.sqrt(2.0).astype(mean.dtype)
    return _Lift(
        (left[:, :-1] * 2 * half) @ other.T,
        jnp.concatenate([(up + other) / 2, (up - other) / 2, null / root], 1),
        jnp.concatenate([(up - other) / 2, (up + other) / 2, null / root], 1),
        jnp.concatenate([2 * half, -2 * half, jnp.zeros(1, mean.dtype)]),
    )


def _log_map(mean: Float[Array, " d"], v: Float[Array, "d d"], u: Float[Array, "d d"]):
    """Velocity at N(0, 1) towards N(mean, W W^T), and half its squared length."""
    zero = jnp.zeros_like(v)
    lift = _lift(mean, v, u, zero)
    if len(mean) > 1:
        lift = _horizontal(mean, v, u, lift)
    r, square = lift.r, lift.r[:-1]
    return r[-1] / jnp.sqrt(2.0).astype(r.dtype), -(square + square.T) / 2, jnp.square(r).sum() / 4


def _horizontal(mean: Actions, v, u, lift: _Lift) -> _Lift:
    """Newton's method on the residual, with halved steps where a whole one does not help."""
    small = 4 * jnp.finfo(mean.dtype).eps

    def unsolved(carry):
        lift, _, share, count = carry
        large = jnp.linalg.norm(lift.residual()) > small * jnp.linalg.norm(lift.r)
        return large & (share > 1e-2) & (count < NEWTON_STEPS)

    def step(carry):
        lift, skew, share, count = carry
        moved = skew - share * _newton_direction(lift)
        there = _lift(mean, v, u, moved)
        better = jnp.linalg.norm(there.residual()) < jnp.linalg.norm(lift.residual())
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), (there, moved), (lift, skew))
        return *kept, jnp.where(better, 1.0, share / 4).astype(mean.dtype), count + 1

    start = lift, jnp.zeros_like(v), jnp.ones((), mean.dtype), 0
    return jax.lax.while_loop(unsolved, step, start)[0]


def _newton_direction(lift: _Lift) -> Float[Array, "d d"]:
    """The skew Z whose change of the residual is the residual, by conjugate gradients: the derivative is a Hessian.

    Along Z, dG = E G + G E^T with Z in the block (3, 1) of E; log changes by its divided differences on eigenvalues.
    """
    gaps = lift.logs[:, None] - lift.logs
    same = jnp.abs(gaps) < jnp.sqrt(jnp.finfo(gaps.dtype).eps)
    shares = jnp.where(same, 1 - gaps / 2, gaps / jnp.where(same, 1.0, jnp.expm1(gaps)))
    size = lift.r.shape[1]
    zero = jnp.zeros(size, gaps.dtype)

    def as_skew(entries):
        matrix = triangle(zero, entries)
        return matrix - matrix.T

    def change(entries):
        turned = shares * (lift.last.T @ as_skew(entries) @ lift.first)
        block = lift.last @ (turned + turned.T) @ lift.first.T
        return below(block - block.T) / 2

    found, _ = jax.scipy.sparse.linalg.cg(change, below(lift.residual()), tol=1e-3, maxiter=CONJUGATE_STEPS)
    return as_skew(found)
