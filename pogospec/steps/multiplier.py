"""A step size that is learned: 1/tau is the Lagrange multiplier of a bound on D (BRAC's trained alpha)."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from pogospec.spec.fields import Within
from pogospec.types import Scalar

LEAST = 1e-6
"""Smallest multiplier, so that tau is a number (BRAC: 0)."""


class Learned(NamedTuple):
    """The multiplier before its bounds, and its Adam."""

    alpha: Scalar
    optimizer: Any


class Multiplier(eqx.Module):
    """Adjusts alpha = 1/tau until the mean D over the states is `divergence`, by dual ascent (BRAC's trained alpha).

    After each update of the policy alpha takes an Adam step on -alpha (mean D - divergence), whose gradient passes its
    bounds only inwards.
    """

    start: Annotated[float, Within(gt=0.0), "step size at the beginning, 1/alpha"]
    divergence: Annotated[float, Within(ge=0.0), "mean D that is aimed at (BRAC: target_divergence)"]
    learning_rate: Annotated[float, Within(gt=0.0), "step size of the Adam of alpha (BRAC: 1e-3)"] = 1e-3
    most: Annotated[float, Within(gt=0.0), "largest alpha (BRAC: 500)"] = 500.0

    def at(self, k: int) -> float:
        """The step size at the beginning, at every repetition."""
        return self.start

    def words(self, states: bool = True) -> str:
        """The law with its numbers."""
        return (
            f"learned: 1/tau starts at {1 / self.start:.6g} and grows where the mean D exceeds {self.divergence:.6g}, "
            f"shrinks below; Adam {self.learning_rate:.6g} after each update of the policy, at most {self.most:.6g}"
        )

    def init(self) -> Learned:
        """The multiplier at the beginning of a step."""
        alpha = jnp.asarray(1 / self.start, float)
        return Learned(alpha, self._adam().init(alpha))  # type: ignore[arg-type]

    def tau(self, learned: Learned) -> Scalar:
        """The step size as it is now."""
        return 1 / jnp.clip(jax.lax.stop_gradient(learned.alpha), LEAST, self.most)

    def update(self, learned: Learned, distance: Scalar) -> Learned:
        """The multiplier after one step of dual ascent; `distance`: mean D over the states."""
        gradient = self.divergence - distance
        inwards = jnp.where(gradient > 0, learned.alpha > LEAST, learned.alpha < self.most)
        change, optimizer = self._adam().update(jnp.where(inwards, gradient, 0.0), learned.optimizer)
        return Learned(learned.alpha + change, optimizer)  # type: ignore[operator]

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)
