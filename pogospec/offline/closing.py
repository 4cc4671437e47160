"""The last layer of a critic, solved to its fixed point, and weights by which held-out rows correct its values.

Minibatches leave the level of values behind where the discount is near 1. On the features phi of the last hidden layer
(with a constant) fitted Q iteration is linear, and its fixed point solves A w = b, A = E phi (phi - discount phi')^T,
b = E phi r: least-squares temporal differences (Bradtke and Barto, 1996), where linear fitted Q evaluation ends. A is
not positive off the policy, so the projected Bellman error is minimised with a ridge towards the network's own layer
(Hoffman et al., "Regularized least squares temporal difference learning with nested l2 and l1 penalization", 2012).

The same A gives the linear estimate omega = phi^T A^-T phi_0 of the ratio of the policy's discounted occupancy to the
data's (Uehara, Huang and Jiang, "Minimax weight and Q-function learning", 2020). Over held-out episodes
V(s_0) + sum_t omega_t (r_t + discount V(s_t+1) - Q_t) is doubly robust (Kallus and Uehara, "Double reinforcement
learning", 2020): where values are off, rows that the critic has not seen say so.

Its noise is that of the rows that it was fitted on and of those it is read in. Both are resampled, and the layer solved
again (Hao et al., "Bootstrapping fitted Q-evaluation for off-policy inference", 2021); the hidden layers stay. How far
a looser ridge moves the value is told too: where data do not determine it, that is large.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.nets import MLP, Linear
from pogospec.offline.critic import outputs
from pogospec.offline.episodes import Episodes
from pogospec.offline.settings import Settings
from pogospec.types import Transitions

JITTER = 1e-4
"""Added to the covariance of features, over its mean diagonal."""
SOFTEST, LOOSE, STEADY = 1.0, 0.1, 3.0
"""Singular values of the whitened A below these shares of 1 - discount, the least there is on the policy, count less:
in the last layer, in that of resamples, and in omega, which may be a little wrong but never large. A ridge pulls
resamples to the one network that they share, so that their spread would be too small; theirs is looser.
"""


class Moments(NamedTuple):
    """Sums over the rows of each of G blocks of episodes; d features, the last layer of the network as it is."""

    covariance: Float[Array, "G d d"]  # phi phi^T
    slope: Float[Array, "G d d"]  # phi (phi - discount phi')^T
    error: Float[Array, "G d"]  # phi (r + discount V' - Q)
    start: Float[Array, "G d"]  # of the first features of each episode, mean over the policy's actions
    rows: Float[Array, " G"]
    episodes: Float[Array, " G"]
    layer: Float[Array, " d"]


class Closed(NamedTuple):
    """What a closed critic says of the blocks of its fold: sums over episodes."""

    corrected: Any
    plain: Any
    loose: Float[Array, " B"]  # corrected, with the looser ridge, in each resample
    episodes: Float[Array, " B"]
    change: Float[Array, " d"]  # of the last layer


def moments(
    settings: Settings,
    data: Transitions,
    episodes: Episodes,
    following: Array,
    first: Array,
    which: Any,
    network: MLP,
) -> Moments:
    """Moments of policy `which`, which the critic is of.

    `following` [P, N, points, act]: next actions of all policies; `first` [P, E, points, act]: at first observations.
    """
    width, kind = settings.hidden[-1], data.rewards.dtype
    bare = network.ending(Linear(jnp.eye(width, dtype=kind), jnp.zeros(width, kind)))
    layer = jnp.append(network.layers[-1].weight[:, 0], network.layers[-1].bias)
    count, blocks = data.rewards.shape[0], len(episodes.block_fold)

    def features(observations, actions):
        found = outputs(bare, observations, actions)
        return jnp.concatenate([found, jnp.ones_like(found[..., :1])], -1)

    def add(sums, piece):
        rows, block = piece
        share, at = (rows < count).astype(kind), jnp.minimum(rows, count - 1)
        now = features(data.observations[at], data.actions[at])
        after = features(data.next_observations[at], jnp.swapaxes(following[which, at], 0, 1)).mean(0)
        change = now - settings.discount * (1 - data.terminated[at])[:, None] * after
        weighed = share[:, None] * now
        found = weighed.T @ now, weighed.T @ change, weighed.T @ (data.rewards[at] - change @ layer), share.sum()
        return jax.tree.map(lambda total, part: total.at[block].add(part), sums, found), None

    shapes = ((blocks, width + 1, width + 1), (blocks, width + 1, width + 1), (blocks, width + 1), (blocks,))
    zero = tuple(jnp.zeros(shape, kind) for shape in shapes)
    (covariance, slope, error, rows), _ = jax.lax.scan(add, zero, (episodes.pieces, episodes.piece_block))
    begin = features(data.observations[episodes.first], jnp.swapaxes(first[which], 0, 1)).mean(0)
    block = jnp.asarray(episodes.block)
    start = jax.ops.segment_sum(begin, block, blocks)
    number = jax.ops.segment_sum(jnp.ones(len(block), kind), block, blocks)
    return Moments(covariance, slope, error, start, rows, number, layer)


def closed(settings: Settings, found: Moments, own: Array, counts: Array) -> Closed:
    """Close a critic with each resample, and read it; wants double precision.

    `own` [G]: whether blocks are of the fold that it has not seen; `counts` [B, G]: how often each is drawn.
    """

    def one(count, softest):
        change, ratio = _solved(settings, _sums(found, count * ~own), softest)
        _, slope, error, start, _, episodes = _sums(found, count * own)
        plain = start @ (found.layer + change)
        return plain + ratio @ (error - slope @ change), plain, episodes, change

    corrected, plain, _, change = one(counts[0], SOFTEST)
    loose, _, episodes, _ = jax.lax.map(lambda count: one(count, LOOSE), counts)
    return Closed(corrected, plain, loose, episodes, change)


def levelled(settings: Settings, found: Moments, own: Array) -> Array:
    """The change of the last layer [d] of a network that is still trained; wants double precision."""
    return _solved(settings, _sums(found, 1.0 * ~own), SOFTEST)[0]


def closing(network: MLP, change: Array) -> MLP:
    """The network with its last layer changed."""
    last, change = network.layers[-1], change.astype(network.layers[-1].bias.dtype)
    return network.ending(Linear(last.weight + change[:-1, None], last.bias + change[-1]))


def _sums(found: Moments, weights: Array) -> tuple:
    """Sums over blocks of all but the layer."""
    return tuple((weights @ leaf.reshape(len(leaf), -1)).reshape(leaf.shape[1:]) for leaf in found[:6])


def _solved(settings: Settings, sums: tuple, softest: float) -> tuple[Array, Array]:
    """The change of the last layer [d] that closes it, and the layer [d] that gives omega, from sums over rows."""
    covariance, slope, error, start, rows, episodes = sums
    covariance, slope, size = covariance / rows, slope / rows, len(error)
    eye = jnp.eye(size, dtype=error.dtype)
    root = jnp.linalg.cholesky(covariance + JITTER * jnp.trace(covariance) / size * eye)

    def whitened(x, transposed=0):
        return jax.scipy.linalg.solve_triangular(root, x, lower=True, trans=transposed)

    slope = whitened(whitened(slope).T).T
    square = slope.T @ slope

    def solve(share, target):
        ridge = (share * (1 - settings.discount)) ** 2
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(square + ridge * eye), target)

    change = whitened(solve(softest, slope.T @ whitened(error / rows)), 1)
    ratio = whitened(slope @ solve(STEADY, whitened(start / episodes)), 1)
    return change, ratio * episodes / rows
