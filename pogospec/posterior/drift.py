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

from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, normals
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
    if temperature == 0 or not isinstance(parameters, DiagonalNormal | FullNormal | LowRankNormal):
        return
    count = len(parameters.mean) - 1
    ends = [jax.tree.map(lambda leaf, index=index: leaf[index], parameters) for index in (0, 3 * count // 4, count)]
    widens = _of_factors if hasattr(parameters, "factor") else _of_axes
    shift, grown, width, std = widens(*ends)
    if not (grown > GROWING and width * GROWN < 1):
        return
    cost = _cost(target, temperature, jax.tree.map(lambda leaf: leaf[-1], parameters), jnp.asarray(shift, float))
    if not np.isfinite(cost) or cost > HELD:
        return
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


Correlated = FullNormal | LowRankNormal
Widest = tuple[np.ndarray, float, float, list[np.ndarray]]
"""The direction that has widened most of late: one standard deviation along it [d], this over what it was then, what it
was at the start over what it is now; and the standard deviations of all dimensions at the start and now."""


def _of_axes(first: DiagonalNormal, before: DiagonalNormal, last: DiagonalNormal) -> Widest:
    """Of independent dimensions, one of them."""
    std = [np.exp(np.asarray(one.log_std, float)) for one in (first, before, last)]
    most = int((std[2] / std[1]).argmax())
    shift = np.where(np.arange(len(std[2])) == most, std[2], 0.0)
    return shift, std[2][most] / std[1][most], std[0][most] / std[2][most], [std[0], std[2]]


def _of_factors(first: Correlated, before: Correlated, last: Correlated) -> Widest:
    """The first axis of the covariance where that of `before` is the identity."""
    start, then, now = (np.asarray(one.factor(), float) for one in (first, before, last))
    root = np.linalg.solve(then, now)
    grown, axes = np.linalg.eigh(root @ root.T)
    shift = then @ axes[:, -1] * np.sqrt(grown[-1])
    width = np.sqrt(np.square(start.T @ np.linalg.solve(now @ now.T, shift)).sum())
    return shift, float(np.sqrt(grown[-1])), float(width), [np.sqrt(np.square(f).sum(1)) for f in (start, now)]


@eqx.filter_jit
def _cost(target: AbstractTarget, temperature: Any, parameters: Any, shift: Any) -> Any:
    """Mean fall of Q/temperature in nats by a shift to either side."""
    one = jax.tree.map(lambda leaf: leaf[None], parameters)
    half = normals(parameters, DRAWS, jax.random.key(0))
    actions = one.at(jnp.concatenate([half, -half])[:, None])[:, 0]
    here, up, down = (target.drawn(jax.random.key(1), alike=False).log_density(actions + s * shift) for s in (0, 1, -1))
    return (here - (up + down) / 2).mean() / temperature
