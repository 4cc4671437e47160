"""Directions in which nothing holds a flow: where the density is flat, its entropy alone widens it without bound.

A Gaussian that has come to rest lies in each direction where a shift by its own standard deviation costs half a nat on
average. One that still widens, and whose shift costs next to nothing, is not held there: the density is improper in
this direction, or wider than the flow has come.
"""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.policies.base import DiagonalNormal, FullNormal, normals
from pogospec.posterior.start import named
from pogospec.targets.base import AbstractTarget

GROWN, GROWING = 3.0, 1.05
"""Standard deviations at the end over those at the start, and over those before the last quarter of the steps."""
HELD = 0.1
"""Nats of a shift by a standard deviation at which a direction counts as held, where rest has 0.5."""
DRAWS = 64
"""Pairs at which the shift is tried."""


def warn_of_drift(target: AbstractTarget, temperature: float, parameters: Any) -> None:
    """Warn of the sites whose standard deviation grows without bound; parameters have a leading axis of steps."""
    if temperature == 0 or not isinstance(parameters, DiagonalNormal | FullNormal):
        return
    steps = len(parameters.mean)
    first, before, last = (_factor(parameters, index) for index in (0, (3 * (steps - 1)) // 4, steps - 1))
    if not all(np.isfinite(factor).all() for factor in (first, before, last)):
        return
    # the direction that has widened most of late, as a shift of one standard deviation along it
    grown, axes = np.linalg.eigh(_between(before, last))
    shift = before @ axes[:, -1] * np.sqrt(grown[-1])
    width = np.sqrt(np.square(first.T @ np.linalg.solve(last @ last.T, shift)).sum())  # at the start, of 1 now
    if np.sqrt(grown[-1]) < GROWING or width * GROWN > 1:
        return
    cost = _cost(target, temperature, jax.tree.map(lambda leaf: leaf[-1], parameters), jnp.asarray(shift, float))
    if not np.isfinite(cost) or cost > HELD:
        return
    std = [np.sqrt(np.square(factor).sum(1)) for factor in (first, last)]
    share = np.abs(shift) / std[1]
    places = [(name, max(inside, key=lambda index: share[index])) for name, inside in named(target)]
    moved = [(name, index) for name, index in places if share[index] > 0.3]
    told = [f"{name} (standard deviation {std[0][index]:.3g} to {std[1][index]:.3g})" for name, index in moved]
    many = f" and {len(told) - 3} more" if len(told) > 3 else ""
    warnings.warn(
        f"flow: nothing holds {', '.join(told[:3])}{many}: the log density is flat as far as the flow has come; give a "
        "proper prior there, or more steps where it is wide",
        RuntimeWarning,
        stacklevel=4,
    )


def _factor(parameters: Any, index: int) -> np.ndarray:
    """A factor [d, d] of the covariance after so many steps."""
    one = jax.tree.map(lambda leaf: leaf[index], parameters)
    return np.asarray(one.factor() if isinstance(one, FullNormal) else jnp.diag(jnp.exp(one.log_std)), float)


def _between(before: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The covariance of `last` where that of `before` is the identity."""
    root = np.linalg.solve(before, last)
    return root @ root.T


@eqx.filter_jit
def _cost(target: AbstractTarget, temperature: Any, parameters: Any, shift: Any) -> Any:
    """Mean fall of Q/temperature in nats by a shift to either side."""
    one = jax.tree.map(lambda leaf: leaf[None], parameters)
    half = normals(parameters, DRAWS, jax.random.key(0))
    actions = one.at(jnp.concatenate([half, -half])[:, None])[:, 0]
    here, up, down = (target.drawn(jax.random.key(1), alike=False).log_density(actions + s * shift) for s in (0, 1, -1))
    return (here - (up + down) / 2).mean() / temperature
