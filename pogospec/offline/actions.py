"""What saved policies would do in logged observations, and how likely they find logged actions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pogospec.runs.saved import SavedPolicy
from pogospec.types import Key

ROWS = 2048
"""Rows that are looked at together."""


def drawn(
    saved: SavedPolicy, observations: np.ndarray, action: str, points: int, key: Key, tick: Callable[[], None]
) -> Float[np.ndarray, "seeds N points act"]:
    """Actions of all seeds at raw observations [N, obs], scaled to [-1, 1] and clipped, as where the policies act.

    `action`: mean, of which there is one in each place, or sample, of which there are so many `points`.
    """
    count, bounded = len(observations), bool(np.isfinite([saved.space.low, saved.space.high]).all())
    found = []
    for number, rows in enumerate(_rows(saved, observations)):
        tick()
        with jax.enable_x64(saved.double):
            keys = jax.random.split(jax.random.fold_in(key, number), points if action == "sample" else 1)
            chosen = draw(saved.family, action, saved.network, rows, keys)
            found.append(np.asarray(jnp.clip(chosen, -1.0, 1.0) if bounded else chosen, np.float32))
    return np.moveaxis(np.concatenate(found, 2)[:, :, :count], 0, 2)


def log_likelihoods(saved: SavedPolicy, observations: np.ndarray, actions: np.ndarray) -> Float[np.ndarray, "seeds N"]:
    """Log densities of actions [N, act], scaled to [-1, 1], of a family that has them."""
    count, found = len(observations), []
    for number, rows in enumerate(_rows(saved, observations)):
        own = padded(actions[number * ROWS : (number + 1) * ROWS])
        with jax.enable_x64(saved.double):
            found.append(np.asarray(_density(saved.family, saved.network, rows, own), np.float64))
    return np.concatenate(found, 1)[:, :count]


def _rows(saved: SavedPolicy, observations: np.ndarray):
    """Normalised observations in parts of one length, the last of which repeats its last row."""
    for begin in range(0, len(observations), ROWS):
        yield saved.normalised(padded(observations[begin : begin + ROWS]))


def padded(rows: np.ndarray) -> np.ndarray:
    """As many rows as are looked at together; the last one is repeated."""
    return rows if len(rows) == ROWS else np.concatenate([rows, np.repeat(rows[-1:], ROWS - len(rows), 0)])


@functools.partial(jax.jit, static_argnums=(0, 1))
def draw(family: Any, action: str, network: Any, observations: Array, keys: Any) -> Array:
    """Actions [points, seeds, rows, act] at normalised observations [rows, obs], not clipped."""
    parameters = jax.vmap(family.parameters, in_axes=(0, None))(network, observations)
    if action == "mean":
        return family.mean_action(parameters)[None]
    return jax.lax.map(lambda key: family.sample(parameters, key), keys)


@functools.partial(jax.jit, static_argnums=0)
def _density(family: Any, network: Any, observations: Array, actions: Array) -> Array:
    parameters = jax.vmap(family.parameters, in_axes=(0, None))(network, observations)
    seeds = jax.tree.leaves(network)[0].shape[0]
    return family.log_likelihood(parameters, jnp.broadcast_to(actions, (seeds, *actions.shape)))
