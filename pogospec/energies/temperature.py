"""A weight of the entropy that is learned: the temperature alpha of SAC, trained until the entropy is what it aims at.

L(log alpha) = log alpha (mean H - target), target: -act_dim unless it is given (Haarnoja et al., "Soft Actor-Critic
Algorithms and Applications", eq. 18, on the logarithm as the released codes of SAC-N, EDAC and CQL).
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import optax

from pogospec.spec.fields import Within
from pogospec.types import Scalar


class Learned(NamedTuple):
    """The logarithm of the temperature, and its Adam."""

    log_alpha: Scalar
    optimizer: Any

    @property
    def alpha(self) -> Scalar:
        """The temperature."""
        return jnp.exp(self.log_alpha)


class Temperature(eqx.Module):
    """Adjusts alpha, a factor of the entropy's weight, at each update of the policy."""

    start: Annotated[float, Within(gt=0.0), "alpha at the beginning"] = 1.0
    entropy: Annotated[float | None, "entropy in nats that is aimed at, of actions in [-1, 1] (null: -act_dim)"] = None
    learning_rate: Annotated[float, Within(gt=0.0), "step size of the Adam of log alpha (SAC-N, EDAC: 3e-4)"] = 3e-4

    def words(self) -> str:
        """The law with its numbers."""
        aim = "−d, d: action dimensions" if self.entropy is None else f"{self.entropy:.6g}"
        return (
            f"learned: α starts at {self.start:.6g}, grows where the mean entropy is below {aim}, shrinks above; "
            f"Adam {self.learning_rate:.6g} on log α at each update of the policy"
        )

    def init(self) -> Learned:
        """The temperature at the beginning of a step."""
        log_alpha = jnp.log(jnp.asarray(self.start, float))
        return Learned(log_alpha, self._adam().init(log_alpha))

    def update(self, learned: Learned, entropy: Scalar, act_dim: int) -> Learned:
        """The temperature after one step; `entropy`: mean over the states."""
        gradient = entropy - (-act_dim if self.entropy is None else self.entropy)
        change, optimizer = self._adam().update(gradient, learned.optimizer)
        return Learned(learned.log_alpha + change, optimizer)  # type: ignore[operator]

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)
