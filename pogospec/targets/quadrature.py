"""Integrals of exp(f) in one and two dimensions, by the trapezoidal rule on a box that is searched for.

The rule converges faster than any power of the spacing where exp(f) is smooth and vanishes at the edges of the box;
the grid is doubled until two results agree. All is on the host, in or out of a trace, and in float64 but for f where
it must not be.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import jax
import numpy as np

DEPTH = 50.0
"""A box holds every point at which f lies less than this below its maximum; exp(-50) = 2e-22."""
ROWS = 2**15
"""Points that are evaluated at once."""
SEARCH = {1: 2001, 2: 301}
START, MOST = {1: 512, 2: 64}, {1: 2**18, 2: 2**11}
"""Points along an axis, by the number of dimensions: of a search, and of the first and the last rule."""
FAR = 18.0
"""The search starts within +-sinh(18) = 3e7 of the origin."""
TOLERANCE = {True: 1e-8, False: 1e-4}
"""Of the agreement of two rules, where f is float64 and where it is float32."""

Function = Callable[[np.ndarray], np.ndarray]
"""Points [n, d] -> values [n], float64."""


class Box(NamedTuple):
    """Where exp(f) has its mass; `low` and `high` [d], and the spacing that a first rule needs, 0 where unknown."""

    low: np.ndarray
    high: np.ndarray
    spacing: float = 0.0


class Moments(NamedTuple):
    """Of exp(f): log of the integral, mean [d] and covariance [d, d] of the density."""

    log_normalizer: float
    mean: np.ndarray
    covariance: np.ndarray


def on_host(log_density: Callable, temperature: float, double: bool) -> Function:
    """log_density / temperature, minus infinity where it is not a number; of float64, or of JAX's own float type."""
    compiled = jax.jit(log_density)

    def values(points: np.ndarray) -> np.ndarray:
        missing = -len(points) % ROWS
        padded = np.concatenate([points, np.repeat(points[-1:], missing, 0)]) if missing else points
        with jax.ensure_compile_time_eval(), jax.enable_x64(True) if double else nullcontext():
            parts = [np.asarray(compiled(part)) for part in np.split(padded, len(padded) // ROWS)]
        found = np.concatenate(parts)[: len(points)].astype(float) / temperature
        return np.where(np.isnan(found), -np.inf, found)

    return values


def find_box(function: Function, dimensions: int) -> Box | None:
    """The box of the mass; None where there is none within reach, as for functions that do not fall off."""
    if dimensions not in SEARCH:
        return None
    count = SEARCH[dimensions]
    axes = [np.sinh(np.linspace(-FAR, FAR, count))] * dimensions
    for _ in range(60):
        values = _on_grid(function, axes)
        top = values.max()
        if not np.isfinite(top):
            return None
        low, high, settled = np.empty(dimensions), np.empty(dimensions), True
        for j, axis in enumerate(axes):
            kept = np.flatnonzero((values > top - DEPTH).any(tuple(i for i in range(dimensions) if i != j)))
            first, last, width = kept[0], kept[-1], axis[-1] - axis[0]
            low[j] = axis[0] - width if first == 0 else axis[first - 1]
            high[j] = axis[-1] + width if last == count - 1 else axis[last + 1]
            settled &= 0.8 * width < high[j] - low[j] <= width
        if settled:
            return Box(low, high)
        if max(np.abs(low).max(), np.abs(high).max()) > 100 * np.sinh(FAR):
            return None
        axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
    return None


def integrate(function: Function, box: Box | None, tolerance: float) -> Moments | None:
    """Moments of exp(f); None where no two successive rules agree."""
    if box is None or box.low.size not in START:
        return None
    d = box.low.size
    wanted = (box.high - box.low).max() / box.spacing if box.spacing > 0 else 1.0
    count, before = max(START[d], 2 ** int(np.ceil(np.log2(wanted)))), None
    while count <= MOST[d]:
        found = _rule(function, box, count)
        if found is not None and before is not None and _agree(found, before, tolerance):
            return found
        count, before = 2 * count, found
    return None


def _on_grid(function: Function, axes: list[np.ndarray]) -> np.ndarray:
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return function(points.reshape(-1, len(axes))).reshape(points.shape[:-1])


def _rule(function: Function, box: Box, count: int) -> Moments | None:
    axes = [np.linspace(a, b, count) for a, b in zip(box.low, box.high, strict=True)]
    values = _on_grid(function, axes)
    top = values.max()
    if not np.isfinite(top):
        return None
    masses = np.exp(values - top)
    total = masses.sum()
    masses /= total
    alone = [masses.sum(tuple(i for i in range(len(axes)) if i != j)) for j in range(len(axes))]
    mean = np.array([mass @ axis for mass, axis in zip(alone, axes, strict=True)])
    gaps = [axis - middle for axis, middle in zip(axes, mean, strict=True)]
    covariance = np.diag([mass @ gap**2 for mass, gap in zip(alone, gaps, strict=True)])
    if len(axes) == 2:
        covariance[0, 1] = covariance[1, 0] = gaps[0] @ masses @ gaps[1]
    cell = np.prod((box.high - box.low) / (count - 1))
    return Moments(float(top + np.log(total * cell)), mean, covariance)


def _agree(found: Moments, before: Moments, tolerance: float) -> bool:
    stds = np.sqrt(np.diag(found.covariance))
    return bool(
        abs(found.log_normalizer - before.log_normalizer) < tolerance
        and (np.abs(found.mean - before.mean) <= tolerance * stds).all()
        and (np.abs(found.covariance - before.covariance) <= tolerance * np.outer(stds, stds)).all()
    )
