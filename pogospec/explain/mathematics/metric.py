"""What a natural gradient multiplies, read off the metric itself by trying it on a range of log-stds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.explain.numbers import number, short
from pogospec.explain.stages import Stage
from pogospec.policies.base import FullNormal, TanhNormal
from pogospec.spec.schema import Spec
from pogospec.steps.base import Proximal

POINTS = 141
BOUNDS = (-5.0, 2.0)
"""Log-stds that are tried where a family names no bounds."""
FREE = (1e-30, 1e30)
"""A clip that does not bind."""
NAMES = {"log_std": "log σ", "shape": "whitened shape"}
POWERS = {0: "", 1: "σ", 2: "σ²", -1: "1/σ", -2: "1/σ²"}
FRACTIONS = {0.5: "½", 0.25: "¼"}


@dataclass(frozen=True)
class Factor:
    """What the gradient with respect to one parameter is multiplied by."""

    parameter: str  # as people call it
    text: str  # of the factor without its clip
    low: float  # over the range of log-stds, with the clip
    high: float
    clipped: tuple[float, float] | None  # log-stds between which the clip does not bind, where it binds at all
    bound: bool  # whether the clip binds at every log-std


def log_std_bounds(policy: Any) -> tuple[float, float]:
    """Bounds of a family's log-std."""
    low, high = getattr(policy, "log_std", BOUNDS)
    return low, high


def factors(spec: Spec, stage: Stage, act_dim: int) -> list[Factor]:
    """The factors of each parameter; empty for a euclidean gradient."""
    gradient: Any = stage.step.gradient
    if gradient is None or not gradient.needs_metric or not stage.proximal:
        return []
    grid = np.linspace(*log_std_bounds(spec.policy), POINTS)
    columns = np.repeat(grid[:, None], act_dim, 1)
    zeros, cls = jnp.zeros_like(columns), spec.policy.parameter_type
    if cls is FullNormal:
        below = jnp.zeros((POINTS, act_dim * (act_dim - 1) // 2))
        isotropic, proximal = FullNormal(zeros, jnp.asarray(columns), below), stage.proximal
        clip = getattr(gradient, "clip", None)
        found, free = (_in_frame(proximal, isotropic, bounds) for bounds in (clip, FREE))
    else:
        parameters = cls(**{name: jnp.asarray(columns) if name == "log_std" else zeros for name in cls._fields})
        ones = cls(*(jnp.ones_like(column) for column in parameters))
        open_ = replace(gradient, clip=FREE) if hasattr(gradient, "clip") else gradient
        found, free = (one.precondition(stage.proximal, parameters, ones) for one in (gradient, open_))
    names = NAMES | ({"mean": "mean before tanh"} if cls is TanhNormal else {})
    return [
        _factor(
            str(names.get(name, name)),
            grid,
            np.asarray(a).reshape(POINTS, -1)[:, 0],
            np.asarray(b).reshape(POINTS, -1)[:, 0],
        )
        for name, a, b in zip(found._fields, found, free, strict=True)
    ]


def _in_frame(proximal: tuple[Proximal, ...], parameters: FullNormal, clip: tuple[float, float] | None) -> Any:
    """Factors of the natural gradient in the frame of a full Gaussian, for the sum of the proximal terms."""
    inverses = [term.geometry.inverse_metric(parameters, clip) for term in proximal]
    shares = [proximal[0].tau / term.tau for term in proximal]
    return jax.tree.map(lambda *f: 1 / sum(s / one for s, one in zip(shares, f, strict=True)), *inverses)


def _factor(name: str, grid: np.ndarray, values: np.ndarray, free: np.ndarray) -> Factor:
    same = np.isclose(values, free, rtol=1e-4)
    clipped = None if same.all() or not same.any() else (float(grid[same][0]), float(grid[same][-1]))
    text = _power(grid, free)
    return Factor(name, text, float(values.min()), float(values.max()), clipped, not same.any())


def _power(grid: np.ndarray, values: np.ndarray) -> str:
    """Write the values as c σ^k where the values are that, else their range."""
    slopes = np.diff(np.log(values)) / np.diff(grid)
    power = round(float(slopes.mean()))
    if np.abs(slopes - power).max() > 1e-2 or power not in POWERS:
        return f"{short(float(values.min()))} to {short(float(values.max()))}"
    scale = float(f"{float(np.exp(np.log(values) - power * grid).mean()):.4g}")
    constant = FRACTIONS.get(scale, number(scale))
    if power == 0:
        return constant
    if power < 0:
        return POWERS[power].replace("1/", f"{constant}/")
    return POWERS[power] if scale == 1 else f"{constant} {POWERS[power]}"
