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
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.geometries.full_gaussians import whitened
from pogospec.policies.base import FullNormal, below, triangle
from pogospec.types import Values

NEWTON_STEPS = 40
"""At most; up to five are usual where the Gaussians are some ten stds apart."""
CONJUGATE_STEPS = 100
CONJUGATE_TOLERANCE = 1e-6
"""Of the squared residual."""
SHORTEST = 1e-4
"""Share of a step below which none is sought."""

Entries = Float[Array, " below"]


class Seen(NamedTuple):
    """A Gaussian N(mean, W W^T) as seen from N(0, 1): `v` = W - 1 and `u` = W^-1 - 1."""

    mean: Float[Array, " d"]
    v: Float[Array, "d d"]
    u: Float[Array, "d d"]


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


@jax.custom_jvp
def _velocity(p: FullNormal, q: FullNormal) -> Velocity:
    """At p towards q, in coordinates where p is N(0, 1)."""
    mean, v = whitened(q, p)
    _, u = whitened(p, q)
    return Velocity(*jnp.vectorize(_log_map, signature="(d),(d,d),(d,d)->(d),(d,d),()")(mean, v, u))


@_velocity.defjvp
def _no_second_derivative(primals, tangents):
    raise NotImplementedError("the Rao distance of full Gaussians has no second derivatives here")


class _Lift(NamedTuple):
    """One lift: R, d^2/2 of it, and the eigenvectors of log G in the first and last d coordinates, with eigenvalues."""

    r: Float[Array, "d+1 d"]
    half_square: Float[Array, ""]
    first: Float[Array, "d 2d+1"]
    last: Float[Array, "d 2d+1"]
    logs: Float[Array, " 2d+1"]

    def residual(self) -> Entries:
        """The block (3, 1) of log G, which is skew; 0 where the geodesic is horizontal; the slope of d^2/2 in Z."""
        square = self.r[:-1]
        return below(square - square.T) / 2


def _lift(seen: Seen, skew: Entries) -> _Lift:
    """The lift of a Gaussian at Z."""
    mean, v, u = seen
    identity, root = jnp.eye(len(mean), dtype=mean.dtype), jnp.sqrt(jnp.asarray(2.0, mean.dtype))
    inverse = identity + u.T
    sheared = (_skew(skew, len(mean)) - jnp.outer(mean, mean) / 2) @ inverse
    across = jnp.concatenate([(u.T - v + sheared) / 2, (mean @ inverse)[None] / root])
    within = (2 * identity + u.T + v - sheared) / 2
    left, s, right = jnp.linalg.svd(across)
    other = within @ right.T  # its columns have the lengths cosh(r/2)
    other = other / jnp.linalg.norm(other, axis=0)
    half = jnp.arcsinh(s)
    up, null = left[:-1, :-1], left[:-1, -1:] / root
    return _Lift(
        r=(left[:, :-1] * 2 * half) @ other.T,
        half_square=jnp.square(half).sum(),
        first=jnp.concatenate([(up + other) / 2, (up - other) / 2, null], 1),
        last=jnp.concatenate([(up - other) / 2, (up + other) / 2, null], 1),
        logs=jnp.concatenate([2 * half, -2 * half, jnp.zeros_like(half[:1])]),
    )


def _log_map(mean: Float[Array, " d"], v: Float[Array, "d d"], u: Float[Array, "d d"]):
    """Velocity at N(0, 1) towards N(mean, W W^T), v = W - 1 and u = W^-1 - 1; and half its squared length."""
    seen = Seen(mean, v, u)
    lift = _lift(seen, jnp.zeros(len(mean) * (len(mean) - 1) // 2, mean.dtype))
    if len(mean) > 1:
        lift = _horizontal(seen, lift)
    square = lift.r[:-1]
    return lift.r[-1] / jnp.sqrt(jnp.asarray(2.0, mean.dtype)), -(square + square.T) / 2, lift.half_square


def _horizontal(seen: Seen, lift: _Lift) -> _Lift:
    """Newton's method for the least d^2/2 over Z, with shorter steps where a whole one does not help."""
    eps = jnp.finfo(seen.mean.dtype).eps
    guess, precondition = _second_order(seen)
    there = _lift(seen, guess)
    better = there.half_square < lift.half_square
    start = jax.tree.map(lambda a, b: jnp.where(better, a, b), (there, guess), (lift, jnp.zeros_like(guess)))

    def unsolved(carry):
        (lift, _), share, count = carry
        large = jnp.linalg.norm(lift.residual()) > eps**0.75 * jnp.sqrt(lift.half_square)
        return large & (share > SHORTEST) & (count < NEWTON_STEPS)

    def step(carry):
        (lift, skew), share, count = carry
        moved = skew - share * newton_direction(lift, precondition)
        there = _lift(seen, moved)
        calmer = jnp.linalg.norm(there.residual()) < jnp.linalg.norm(lift.residual())
        rise = there.half_square / lift.half_square - 1
        better = (rise < -4 * eps) | ((rise <= 4 * eps) & calmer)
        kept = jax.tree.map(lambda a, b: jnp.where(better, a, b), (there, moved), (lift, skew))
        return kept, jnp.where(better, jnp.ones_like(share), share / 4), count + 1

    return jax.lax.while_loop(unsolved, step, (start, jnp.ones_like(seen.mean[0]), 0))[0][0]


def _second_order(seen: Seen) -> tuple[Entries, Callable[[Entries], Entries]]:
    """The best Z to second order in the mean, and the inverse Hessian of d^2/2 at equal means.

    In the eigenbasis of W W^T = diag(exp a): Z_ij = m_i m_j (x_ij - x_ji) / (2 h(a_i + a_j)) with h(a) = a / (e^a - 1),
    the divided difference of log at e^a and 1, and x_ij that of log at e^a_i, 1 and e^-a_j, times e^-a_j.
    """
    size = len(seen.mean)
    axes, s, _ = jnp.linalg.svd(jnp.eye(size, dtype=seen.v.dtype) + seen.v)
    a = 2 * jnp.log(s)
    sums = a[:, None] + a
    near = jnp.abs(sums) < 1e-2
    middle = (a[:, None] - a) / 2
    x = jnp.where(near, _h_slope(middle), (_h(a)[:, None] - _h(-a)) / jnp.expm1(jnp.where(near, 1.0, sums)))
    m = axes.T @ seen.mean
    guess = axes @ (jnp.outer(m, m) * (x - x.T) / (2 * _h(sums))) @ axes.T

    def precondition(entries):
        return below(axes @ ((axes.T @ _skew(entries, size) @ axes) / _h(sums)) @ axes.T)

    return below(guess), precondition


def _h(a: Array) -> Array:
    """The function a / (exp(a) - 1)."""
    small = jnp.abs(a) < 1e-3
    return jnp.where(small, 1 - a / 2, a / jnp.where(small, 1.0, jnp.expm1(a)))


def _h_slope(a: Array) -> Array:
    """The derivative of h, to the digits that a first guess needs."""
    small = jnp.abs(a) < 0.1
    e = jnp.where(small, 1.0, jnp.expm1(a))
    return jnp.where(small, a / 6 - 0.5, (1 - a * (1 + 1 / e)) / e)


def newton_direction(lift: _Lift, precondition: Callable[[Entries], Entries]) -> Entries:
    """The change of Z whose change of the residual is the residual, by truncated conjugate gradients.

    Along Z, dG = E G + G E^T with Z in the block (3, 1) of E; log changes by its divided differences on eigenvalues.
    Far away d^2 grows like the square of a logarithm, so that the step is Newton's for exp(sqrt(2) d), which has the
    same least: the outer product of the residual joins the Hessian. Negative curvature ends the iteration.
    """
    slope, size = lift.residual(), lift.r.shape[1]
    shares = _h(lift.logs[:, None] - lift.logs)
    inverse = 1 / jnp.sqrt(jnp.maximum(lift.half_square, jnp.finfo(slope.dtype).tiny))
    lifted = 2 * jnp.maximum(inverse - jnp.square(inverse) / 2, 0.0)

    def hessian(entries):
        turned = shares * (lift.last.T @ _skew(entries, size) @ lift.first)
        block = lift.last @ (turned + turned.T) @ lift.first.T
        return below(block - block.T) / 2 + lifted * slope * (slope @ entries)

    def unsolved(carry):
        _, rest, _, size, curved, count = carry
        return (size > CONJUGATE_TOLERANCE * first) & curved & (count < CONJUGATE_STEPS)

    def step(carry):
        found, rest, along, size, _, count = carry
        image = hessian(along)
        curvature = along @ image
        curved = curvature > 0
        length = jnp.where(curved, size / jnp.where(curved, curvature, 1.0), jnp.where(count == 0, 1.0, 0.0))
        rest = rest - length * image
        ready = precondition(rest)
        new = rest @ ready
        return found + length * along, rest, ready + new / size * along, new, curved, count + 1

    ready = precondition(slope)
    first = slope @ ready
    return jax.lax.while_loop(unsolved, step, (jnp.zeros_like(slope), slope, ready, first, jnp.array(True), 0))[0]


def _skew(entries: Entries, size: int) -> Float[Array, "d d"]:
    """The skew matrix with these entries below its diagonal."""
    matrix = triangle(jnp.zeros(size, entries.dtype), entries)
    return matrix - matrix.T
