"""Fitted Q evaluation of one policy by minibatches: Q(s, a) towards r + discount (1 - terminated) E Q(s', a').

Le, Voloshin and Yue, "Batch policy learning under constraints" (2019), with the slow copy of the networks in the place
of whole iterations, as Voloshin et al., "Empirical study of off-policy policy evaluation" (2021), and Paine et al.,
"Hyperparameter selection for offline RL" (2020), fit it with networks. No maximum and no second critic: the policy is
given, so nothing seeks the critic's errors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from pogospec.nets import MLP, Linear, mlp, polyak
from pogospec.offline.settings import Settings
from pogospec.types import Key, Scalar, Transitions


class Fit(NamedTuple):
    """A critic on its way."""

    network: MLP
    slow: MLP
    optimizer: Any


def unit_of(rewards: Array, discount: float) -> Scalar:
    """The size of values, mean |r| / (1 - discount), by which rewards are divided; 1 where all are 0."""
    size = jnp.abs(rewards).mean() / (1 - discount)
    return jnp.where(size > 0, size, 1.0)


def begin(settings: Settings, data: Transitions, key: Key) -> Fit:
    """A fresh critic."""
    inputs = data.observations.shape[-1] + data.actions.shape[-1]
    network = mlp(key, inputs, settings.hidden, 1)
    network = jax.tree.map(lambda leaf: leaf.astype(data.rewards.dtype), network)
    return Fit(network, network, _optimizer(settings).init(network))


def advance(
    settings: Settings,
    data: Transitions,
    following: Float[Array, "P N points act"],
    which: Any,
    rows: Array,
    count: Any,
    fold: Any,
    key: Key,
    fit: Fit,
    start: Any,
    stop: Any,
) -> Fit:
    """Updates start..stop of the critic of policy `which` and a fold.

    `rows` [folds, N] and `count` [folds]: those of `Episodes`; `following`: next actions of all policies.
    """
    points, optimizer = following.shape[2], _optimizer(settings)

    def update(index, fit: Fit) -> Fit:
        drawing, choosing = jax.random.split(jax.random.fold_in(key, index))
        at = rows[fold, jax.random.randint(drawing, (settings.batch_size,), 0, count[fold])]
        chosen = following[which, at, jax.random.randint(choosing, (settings.batch_size,), 0, points)]
        after = value(fit.slow, data.next_observations[at], chosen)
        target = data.rewards[at] + settings.discount * (1 - data.terminated[at]) * after

        def loss(network):
            return jnp.square(value(network, data.observations[at], data.actions[at]) - target).mean()

        changes, state = optimizer.update(jax.grad(loss)(fit.network), fit.optimizer)
        network: Any = optax.apply_updates(fit.network, changes)  # type: ignore[arg-type]
        return Fit(network, polyak(fit.slow, network, settings.target_rate), state)

    return jax.lax.fori_loop(start, stop, update, fit)


def levelled(fit: Fit, change: Array) -> Fit:
    """A critic on its way, and its slow copy, with last layers changed by [..., d], the bias last."""

    def moved(network):
        last = network.layers[-1]
        weight = last.weight + jnp.asarray(change[..., :-1, None], last.weight.dtype)
        return network.ending(Linear(weight, last.bias + jnp.asarray(change[..., -1:], last.bias.dtype)))

    return Fit(moved(fit.network), moved(fit.network), fit.optimizer)


def value(network: MLP, observations: Array, actions: Array) -> Array:
    """Q [*batch] of one critic; actions may have more leading dimensions than observations."""
    return outputs(network, observations, actions)[..., 0]


def outputs(network: MLP, observations: Array, actions: Array) -> Array:
    """All that the last layer of a critic puts out."""
    observations = jnp.broadcast_to(observations, (*actions.shape[:-1], observations.shape[-1]))
    return network(jnp.concatenate([observations, actions], -1))


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(optax.linear_schedule(settings.learning_rate, 0.0, settings.updates))
