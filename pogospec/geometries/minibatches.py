"""Costs between minibatches of two distributions, less those between minibatches of one.

The cost of n samples of each is too large on average, most where the distributions are alike, and so narrows whoever
minimises it. The minibatch energy distance takes off what n other samples of the same distribution cost,

    E c(X, Y) - (E c(X, X') + E c(Y, Y')) / 2,

all sets independent, which is 0 on average, gradient included, where the distributions are the same (Salimans et al.,
"Improving GANs using optimal transport", 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from pogospec.geometries.base import drawn
from pogospec.types import Actions, Key, Values


def compared(
    cost: Callable[[Actions, Actions], Values], policy: Any, reference: Any, count: int, debiased: bool, key: Key
) -> Values:
    """The cost of `count` samples of each, one value a row; debiased: the minibatch energy distance.

    That takes two sets of each. `cost` takes pairs of sets, [pairs, count, ..., act] each, to [pairs, ...].
    """
    sets = 2 if debiased else 1
    x, y = (side.reshape(sets, count, *side.shape[1:]) for side in drawn(policy, reference, sets * count, key))
    if not debiased:
        return cost(x, y)[0]
    first, second = (jnp.concatenate(sides) for sides in ((x, x[:1], y[:1]), (y, x[1:], y[1:])))
    across, within = jnp.split(cost(first, second), 2)
    return (across - within).mean(0)
