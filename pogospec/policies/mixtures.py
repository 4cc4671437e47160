"""Mixtures of Gaussians as a parameter type: densities, quantiles with gradients, and the transport between two."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from pogospec.types import Actions, Values

LOG_ROOT = 0.9189385332046727
"""log sqrt(2 pi)."""
STEEPEST = 1e3
"""Where hardly any mass lies between components, a quantile moves with their weights at most so many gaps far."""


def _below(x: Array) -> Array:
    """The distribution function of N(0, 1), with its digits in the lower tail."""
    return jax.lax.erfc(-x * math.sqrt(0.5)) / 2


class Mixture(NamedTuple):
    """Gaussians with independent dimensions; `logits` [..., K] of the weights, `means`, `log_stds` [..., K, act]."""

    logits: Float[Array, "*batch K"]
    means: Float[Array, "*batch K act"]
    log_stds: Float[Array, "*batch K act"]

    @property
    def log_weights(self) -> Float[Array, "*batch K"]:
        """Log of the weights, which sum to 1."""
        return jax.nn.log_softmax(self.logits)

    @property
    def mean(self) -> Actions:
        """The mean [..., act] of the whole."""
        return (jnp.exp(self.log_weights)[..., None] * self.means).sum(-2)

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        components = dist.Normal(self.means, jnp.exp(self.log_stds)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)

    def log_density(self, actions: Actions) -> Values:
        """Log density in nats at actions [..., act], with more leading dimensions than the parameters or as many."""
        x = (actions[..., None, :] - self.means) * jnp.exp(-self.log_stds)
        return logsumexp(self.log_weights + (-jnp.square(x) / 2 - self.log_stds - LOG_ROOT).sum(-1), -1)

    def of_components(self, z: Actions) -> Float[Array, "n *batch K act"]:
        """Actions of each component at standard normal z [n, ..., K, act]."""
        return self.means + jnp.exp(self.log_stds) * z

    def at(self, z: Actions) -> Actions:
        """Quantiles at standard normal quantiles z, each dimension given those before it (Rosenblatt, Knothe).

        A smooth and increasing map of normals onto the mixture, whose derivatives at fixed z, also with respect to the
        logits, are those of implicit reparameterisation (Figurnov, Mohamed, Mnih 2018).
        """
        shape = jnp.broadcast_shapes(z.shape[:-1], self.logits.shape[:-1])
        log_weights = jnp.broadcast_to(self.log_weights, (*shape, self.logits.shape[-1]))

        def along(log_weights, dimension):
            mean, log_std, level = dimension
            action = quantile(log_weights, mean, log_std, level)
            x = (action[..., None] - mean) * jnp.exp(-log_std)
            return jax.nn.log_softmax(log_weights - jnp.square(x) / 2 - log_std), action

        levels = jnp.moveaxis(jnp.broadcast_to(z, (*shape, z.shape[-1])), -1, 0)
        columns = jnp.moveaxis(self.means, -1, 0), jnp.moveaxis(self.log_stds, -1, 0), levels
        return jnp.moveaxis(jax.lax.scan(along, log_weights, columns)[1], 0, -1)


@jax.custom_jvp
def quantile(log_weights: Array, mean: Array, log_std: Array, level: Array) -> Array:
    """The x at which the distribution function of a mixture [..., K] in one dimension is that of N(0, 1) at `level`.

    By halving the interval between the quantiles of the components, in the nearer tail, to rounding.
    """
    side = jnp.where(level > 0, -1.0, 1.0).astype(level.dtype)
    mean, level = side[..., None] * mean, -jnp.abs(level)
    ends = mean + jnp.exp(log_std) * level[..., None]
    weights, below = jnp.exp(log_weights), _below(level)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        short = (weights * _below((middle[..., None] - mean) * jnp.exp(-log_std))).sum(-1) < below
        return jnp.where(short, middle, low), jnp.where(short, high, middle)

    halvings = jnp.finfo(level.dtype).nmant + 3
    low, high = jax.lax.fori_loop(0, halvings, halve, (ends.min(-1), ends.max(-1)))
    return side * (low + high) / 2


@quantile.defjvp
def _quantile_jvp(primals, tangents):
    """Of F(x; theta) = Phi(level) at once: dx = (phi(level) dlevel - dF/dtheta dtheta) / F'(x)."""
    log_weights, mean, log_std, level = primals
    log_weights_dot, mean_dot, log_std_dot, level_dot = tangents
    found = quantile(*primals)
    gap = found[..., None] - mean
    x = gap * jnp.exp(-log_std)
    parts = log_weights - jnp.square(x) / 2 - log_std - LOG_ROOT
    log_slope = logsumexp(parts, -1)
    shares = jnp.exp(parts - log_slope[..., None])
    moved = (shares * (mean_dot + gap * log_std_dot)).sum(-1)
    moved += jnp.exp(-jnp.square(level) / 2 - LOG_ROOT - log_slope) * level_dot
    side = jnp.where(level > 0, -1.0, 1.0).astype(level.dtype)[..., None]
    below, weights = _below(side * x), jnp.exp(log_weights)
    excess = side * weights * (below - (weights * below).sum(-1, keepdims=True))
    ends = mean + jnp.exp(log_std) * level[..., None]
    most = STEEPEST * (ends.max(-1) - ends.min(-1))[..., None]
    slope = jnp.maximum(jnp.exp(log_slope), jnp.finfo(level.dtype).tiny)[..., None]
    return found, moved - (jnp.clip(excess / slope, -most, most) * log_weights_dot).sum(-1)


def transport_cost(costs: Float[Array, "*batch I J"], first: Array, second: Array) -> Values:
    """The least cost of carrying weights `first` [..., I] to `second` [..., J] of the same sum.

    Exact: by the simplex method, whose bases are integer matrices. Gradients are those of the envelope theorem: the
    plan with respect to the costs, the dual potentials with respect to the weights.
    """
    rows = jax.lax.stop_gradient((costs, first, second))
    shape = costs.shape[:-2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :]), rows)
    found = jax.vmap(_simplex)(*flat)
    plan, u, v = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), found)
    moved = (u * (first - rows[1])).sum(-1) + (v * (second - rows[2])).sum(-1)
    return (plan * costs).sum((-2, -1)) + moved


def _simplex(costs: Array, first: Array, second: Array) -> tuple[Array, Array, Array]:
    """The plan [I, J] of least cost, and dual potentials u [I], v [J] with u_i + v_j <= c_ij."""
    count, other = costs.shape
    size = count + other - 1
    # the last column of the plan is what is left; its sum is implied by the others
    columns = jnp.concatenate([jnp.repeat(jnp.eye(count), other, 1), jnp.tile(jnp.eye(other)[:-1], (1, count))])
    columns, c = columns.astype(costs.dtype), costs.ravel()

    def corner(state, _):
        i, j, a, b = state
        down = ((a[i] <= b[j]) & (i < count - 1)) | (j == other - 1)
        sent = jnp.minimum(a[i], b[j])
        return (i + down, j + ~down, a.at[i].add(-sent), b.at[j].add(-sent)), (i * other + j, sent)

    start = jnp.zeros((), int), jnp.zeros((), int), first, second
    _, (basis, amounts) = jax.lax.scan(corner, start, length=size)
    inverse = jnp.round(jnp.linalg.inv(columns[:, basis]))  # its entries are -1, 0 and 1
    tolerance = 10 * jnp.finfo(costs.dtype).eps * jnp.abs(c).max()

    def reduced(basis, inverse):
        return c - (c[basis] @ inverse) @ columns

    def unsolved(state):
        basis, inverse, _, number = state
        return (reduced(basis, inverse).min() < -tolerance) & (number < 20 * size)

    def pivot(state):
        basis, inverse, amounts, number = state
        enters = reduced(basis, inverse).argmin()
        direction = inverse @ columns[:, enters]
        ratios = jnp.where(direction > 0, amounts / jnp.where(direction > 0, direction, 1.0), jnp.inf)
        leaves = ratios.argmin()
        sent = ratios[leaves]
        amounts = jnp.maximum(amounts - sent * direction, 0.0).at[leaves].set(sent)
        row = inverse[leaves] / direction[leaves]
        inverse = jnp.round((inverse - direction[:, None] * row).at[leaves].set(row))
        return basis.at[leaves].set(enters), inverse, amounts, number + 1

    basis, inverse, amounts, _ = jax.lax.while_loop(unsolved, pivot, (basis, inverse, amounts, 0))
    plan = jnp.zeros_like(c).at[basis].set(amounts).reshape(count, other)
    potentials = c[basis] @ inverse
    return plan, potentials[:count], jnp.append(potentials[count:], 0.0)


def standardised(count: int, size: int, key: Any) -> Float[Array, "K act"]:
    """Normals [K, act] of mean 0 and mean square 1 over the K rows, in each dimension; 0 for one row."""
    if count == 1:
        return jnp.zeros((1, size))
    drawn = jax.random.normal(key, (count, size))
    drawn -= drawn.mean(0)
    return drawn / jnp.sqrt(jnp.square(drawn).mean(0))
