"""Monotone rational-quadratic splines of many numbers at once, both ways, with the change of volume.

They are those of Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", 2019, in the parameters of flowjax, to
whose values and gradients tests hold them. Derivatives are written out, and rows come last: of a search and a gather
for each number, and of what differentiates them, XLA makes more kernels, which take longer to compile.

A bin whose slopes at its ends are p and q, in units of its height over its width, takes a share t of the width to
r = (t^2 + p t (1 - t)) / (1 + (p + q - 2) t (1 - t)) of the height. The way back,
t = 2 r / (2 r + g + sqrt(g^2 + 4 r (1 - r)))
with g = p (1 - r) - q r, is the quadratic formula without differences of numbers that may be near to each other.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pogospec.types import Values

LEAST = 1e-3
"""The least width and height of a bin, and the least slope at a knot."""
SLOPE_ONE = math.log(math.expm1(1 - LEAST))
"""What softplus makes 1 - LEAST of, so that zeros are the identity."""
BOUND = 3.0
"""Bound of the parameters of splines, b tanh(x/b), at which no bin is exp(-2 b) times another: rounding is not enlarged
without limit on the way back."""


def numbers_of(knots: int) -> int:
    """How many numbers a spline of so many inner knots takes: of widths and heights of bins, of slopes at all knots."""
    return 3 * knots + 4


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def spline(numbers: Array, x: Values, interval: float, backward: bool) -> tuple[Values, Values]:
    """What splines of any numbers [n, *batch] make of x [*batch], or made it of (`backward`), and the log of its slope.

    They bend in ±interval; outside x stays as it is, and so it does inside where all numbers are zero.
    """
    return _forward(numbers, x, interval, backward)[0]


def _forward(numbers, x, interval, backward):
    """The values, and what their derivatives are made of; rows in one dimension."""
    bins, rows, axis = (len(numbers) - 1) // 3, x.size, int(backward)
    numbers = BOUND * jnp.tanh(numbers.reshape(-1, rows) / BOUND)
    parts = jnp.swapaxes(jnp.exp(numbers[: 2 * bins]).reshape(2, bins, rows), 0, 1)  # of widths and heights
    before = np.tri(bins + 1, bins, -1, dtype=x.dtype)
    sums = jnp.matmul(before, parts.reshape(bins, -1), precision="highest").reshape(-1, 2, rows)
    scale = (2 * interval - LEAST * bins) / sums[-1]
    inside = jnp.abs(x.ravel()) <= interval
    inner = jnp.where(inside, x.ravel(), 0.0)
    least = LEAST * np.arange(1, bins, dtype=x.dtype)[:, None] - interval
    bin = (inner > scale[axis] * sums[1:-1, axis] + least).sum(0)
    slopes = numbers[2 * bins :, None]
    table = jnp.concatenate([parts, sums[:-1], slopes[:-1], slopes[1:]], 1)
    taken = jnp.take_along_axis(table, bin[None, None], 0, mode="promise_in_bounds")[0]
    own, passed, ends = jnp.split(taken, 3)
    start = LEAST * bin.astype(x.dtype) - interval + scale * passed
    given = (LEAST + scale * own, start, ends, inner)
    made, log_slope = (part.reshape(x.shape) for part in _inside(backward, *given))
    inside = inside.reshape(x.shape)
    found = jnp.where(inside, made, x), jnp.where(inside, log_slope, 0.0)
    return found, (numbers, parts, scale, own, passed, bin, given, inside)


def _backward(interval, backward, saved, pulls):
    """Sizes are scale times parts, and starts scale times the parts before; scale times all parts is constant."""
    numbers, parts, scale, own, passed, bin, given, inside = saved
    masked = tuple(jnp.where(inside, pull, 0.0).ravel() for pull in pulls)
    size, start, ends, inner = jax.vjp(functools.partial(_inside, backward), *given)[1](masked)
    whole = (size * own + start * passed) * scale / (2 * interval - LEAST * len(parts))
    place = np.arange(len(parts) + 1)[:, None]
    here = place == bin
    alone = jnp.where(here[:-1, None], size, 0.0) + jnp.where((place < bin)[:-1, None], start, 0.0)
    sizes = jnp.swapaxes(scale * parts * (alone - whole), 0, 1).reshape(-1, bin.size)
    slopes = jnp.where(here, ends[0], 0.0) + jnp.where(place == bin + 1, ends[1], 0.0)
    found = jnp.concatenate([sizes, slopes]) * (1 - jnp.square(numbers / BOUND))
    return found.reshape(-1, *inside.shape), jnp.where(inside, inner.reshape(inside.shape), pulls[0])


spline.defvjp(_forward, _backward)


def _inside(backward: bool, size: Array, start: Array, ends: Array, x: Array) -> tuple[Array, Array]:
    """In bins of a width and a height that begin there, with these numbers of their slopes [2, rows], x [rows]."""
    (width, height), (left, low) = size, start
    mean = height / width
    p, q = (LEAST + jnp.log1p(jnp.exp(ends + SLOPE_ONE))) / mean
    if backward:
        share, log_slope = _share(True, (x - low) / height, p, q)
        return left + width * share, -log_slope - jnp.log(mean)
    share, log_slope = _share(False, (x - left) / width, p, q)
    return low + height * share, log_slope + jnp.log(mean)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _share(backward: bool, share: Array, p: Array, q: Array) -> tuple[Array, Array]:
    """The share r of the height at a share t of the width, or t at r (`backward`), and log dr/dt there."""
    t = share
    if backward:
        mixed, g = share * (1 - share), p * (1 - share) - q * share
        t = 2 * share / (2 * share + g + jnp.sqrt(g * g + 4 * jnp.maximum(mixed, 0.0)))
    rise, over, slope = _curve(t, p, q)
    return t if backward else rise / over, jnp.log(slope / (over * over))


def _curve(t: Array, p: Array, q: Array) -> tuple[Array, Array, Array]:
    """Parts of r = rise/over and of dr/dt = slope/over^2."""
    mixed, rest = t * (1 - t), 1 - t
    return t * t + p * mixed, 1 + (p + q - 2) * mixed, q * t * t + 2 * mixed + p * rest * rest


@_share.defjvp
def _(backward: bool, primals: Any, tangents: Any):
    """By the curve, whichever way it is gone."""
    (share, p, q), (moved, p_moved, q_moved) = primals, tangents
    found, log_slope = _share(backward, share, p, q)
    t = found if backward else share
    mixed, rest = t * (1 - t), 1 - t
    rise, over, slope = _curve(t, p, q)
    by_over, by_slope = 1 / over, 1 / slope
    lifted = mixed * ((rest * rest + q * mixed) * p_moved - rise * q_moved)  # r at the same t, times over^2
    if backward:
        moved = by_slope * (over * over * moved - lifted)
        found_moved = moved
    else:
        found_moved = by_over * by_over * (slope * moved + lifted)
    steeper = 2 * (q * t + 1 - 2 * t - p * rest) * moved + rest * rest * p_moved + t * t * q_moved
    wider = (p + q - 2) * (1 - 2 * t) * moved + mixed * (p_moved + q_moved)
    return (found, log_slope), (found_moved, by_slope * steeper - 2 * by_over * wider)
