"""The banana, a Gaussian bent along a parabola: Rosenbrock's valley as a density with known moments."""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
import numpy as np

from pogospec.spec.fields import Within
from pogospec.targets.base import AbstractTarget, Optimum, shown
from pogospec.targets.quadrature import Box
from pogospec.types import Actions, Values


class BananaTarget(AbstractTarget):
    """Log density in two dimensions: a1 ~ N(0, s1^2), and a2 ~ N(bend (a1^2 - s1^2), s2^2) given a1."""

    bend: Annotated[float, "curvature of the ridge; 0 leaves a Gaussian"] = 1.0
    scale: Annotated[tuple[float, float], Within(gt=0.0), "s1 along the valley, s2 across it"] = (1.0, 0.3)

    @property
    def dimensions(self) -> int:
        """Two action dimensions."""
        return 2

    def log_density(self, actions: Actions) -> Values:
        """Log density in nats of each row; normalised at temperature 1."""
        actions = jnp.asarray(actions)
        bend = jnp.asarray(self.bend, actions.dtype)
        along, across = jnp.asarray(self.scale, actions.dtype)
        first, second = actions[..., 0], actions[..., 1]
        gap = second - bend * (jnp.square(first) - jnp.square(along))
        squares = jnp.square(first / along) + jnp.square(gap / across)
        return -0.5 * squares - jnp.log(2 * jnp.pi * along * across)

    def log_normalizer(self, temperature: float) -> float | None:
        """(1 - 1/temperature) log(2 pi s1 s2) + log temperature: the bend moves mass and changes no volume."""
        if temperature <= 0:
            return None
        along, across = (float(s) for s in self.scale)
        return float((1 - 1 / temperature) * np.log(2 * np.pi * along * across) + np.log(temperature))

    def optimum(self, temperature: float) -> Optimum | None:
        """Moments; at temperature 0 the point that is the limit."""
        if temperature < 0:
            return None
        bend, along, across = float(self.bend), *(float(s) for s in self.scale)
        mean = np.array([0.0, bend * along**2 * (temperature - 1)])
        ridge = 2 * (bend * temperature * along**2) ** 2
        return mean, np.diag([temperature * along**2, ridge + temperature * across**2])

    def box(self, temperature: float) -> Box | None:
        """Ten standard deviations along and across the valley."""
        if temperature <= 0:
            return None
        bend, along, across = float(self.bend), *(float(s) for s in self.scale)
        first, second = 10 * np.sqrt(temperature) * np.array([along, across])
        ends = bend * (np.array([0.0, first**2]) - along**2)
        low, high = np.array([-first, ends.min() - second]), np.array([first, ends.max() + second])
        return Box(low, high, float(min(first, second)) / 20)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        return (
            "log N(a₁; 0, s₁²) N(a₂; b (a₁² − s₁²), s₂²)",
            r"\log \mathcal{N}(a_1; 0, s_1^2)\,\mathcal{N}(a_2; b\,(a_1^2 - s_1^2), s_2^2)",
            f"b = {float(self.bend):g}; s = {shown(self.scale)}",
        )
