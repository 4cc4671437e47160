"""Points that follow a velocity: the moves of an explicit step under Wasserstein, and of particles.

The velocity is the force -grad U at each point, U the first variation of the energy; or the Stein velocity

    v(x_i) = sum_j w_j [k(x_i, x_j) F(x_j) + lambda grad_{x_j} k(x_j, x_i)],   F = -grad U without the entropy,

the gradient flow of -E[Q] - lambda H in the kernel's space, which asks for no density: KL to exp(Q/lambda)/Z falls
fastest along it (Liu and Wang, "Stein variational gradient descent", 2016, eq. 8), and lambda = 0 leaves the forces,
smoothed. The kernel is exp(-|x - y|^2 / (2 h^2 + 1e-6)); h^2 = median |x_i - x_j|^2 / (2 log(n + 1)) over all n^2 pairs
of a state, held fixed in gradients, or a given h^2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pogospec.spec.fields import Within
from pogospec.types import Actions, Values

FLOOR = 1e-6
"""Added to 2 h^2, so that points that are all the same have a kernel."""


class Fixed(eqx.Module):
    """The Stein kernel of a given width."""

    stein: Annotated[float, Within(gt=0.0), "width h of the kernel, in scaled actions"]


Kernel = Literal["none", "stein"] | Fixed
"""None, or the Stein kernel, whose width is that of the points or given."""
Mover = Literal["euler", "adam"]


def stein(kernel: Kernel, points: Actions, forces: Actions, heat: Any, shares: Values) -> Actions:
    """The Stein velocity of points [n, ..., act] with shares [n] of sum 1; `heat`: lambda."""
    squares = jnp.square(points[:, None] - points[None]).sum(-1)
    if isinstance(kernel, Fixed):
        width = jnp.square(jnp.asarray(kernel.stein, points.dtype))
    else:
        width = jax.lax.stop_gradient(_median(squares)) / (2 * jnp.log(len(points) + 1.0))
    slope = 1 / (2 * width + FLOOR)
    near = shares.reshape(-1, *(1,) * (squares.ndim - 2)) * jnp.exp(-slope * squares)
    pulled = jnp.einsum("ij...,j...d->i...d", near, forces)
    # sum_j k_ij (x_i - x_j), without the gaps of all pairs
    apart = near.sum(1)[..., None] * points - jnp.einsum("ij...,j...d->i...d", near, points)
    return pulled + 2 * heat * slope[..., None] * apart


def _median(squares: Values) -> Values:
    """The median of all n^2 entries of symmetric [n, n, ...] with a diagonal of 0, by those above it."""
    count = len(squares)
    i, j = np.triu_indices(count, 1)
    above = jnp.sort(squares[i, j], 0)
    middle = [((count**2 - odd) // 2 - count) // 2 for odd in (1, 0)]  # of n zeros, and each pair twice
    return sum((above[k] for k in middle if k >= 0), jnp.zeros(squares.shape[2:], squares.dtype)) / 2


def carried(
    points: Actions, velocity: Callable[[Actions], Actions], length: Any, moves: int, mover: Mover, clipped: bool
) -> Actions:
    """Points after so many moves of a length each.

    `euler`: length times the velocity; `adam`: a step of Adam along it, whose learning rate is the length, one state
    for all moves (Adam with bias correction, as optax has it). `clipped`: to [-1, 1] after each move.
    """
    transform = optax.adam(length) if mover == "adam" else optax.sgd(length)

    def move(carry, _):
        points, state = carry
        changes, state = transform.update(-velocity(points), state)
        points = points + changes
        return (jnp.clip(points, -1.0, 1.0) if clipped else points, state), None

    return jax.lax.scan(move, (points, transform.init(points)), length=moves)[0][0]
