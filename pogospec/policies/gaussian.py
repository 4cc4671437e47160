"""Diagonal Gaussian policies: mean and log-std are heads of one network (POGO)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp

from pogospec.nets import MLP, Init, LayerNorm, mlp
from pogospec.policies.base import AbstractPolicy, DiagonalNormal
from pogospec.spec.fields import Increasing, Within
from pogospec.types import Actions, Key, Observations, Space, Values


class GaussianPolicy(AbstractPolicy):
    """Gaussian with independent dimensions; actions are clipped to the bounds where they are used."""

    parameter_type: ClassVar[type] = DiagonalNormal
    has_density: ClassVar[bool] = True

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the mean"] = "tanh"
    log_std: Annotated[tuple[float, float], Within(ge=-20.0, le=10.0), Increasing(), "hard clamp of the log-std"] = (
        -5.0,
        2.0,
    )
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each ReLU"] = "none"
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"

    def init(self, key: Key, space: Space) -> MLP:
        """One network whose output holds the means, then the log-stds."""
        return mlp(key, space.obs_dim, self.hidden, 2 * space.act_dim, self.layer_norm, self.initialization)

    def parameters(self, network: MLP, observations: Observations) -> DiagonalNormal:
        """Mean after its squashing, log-std after its clamp (no gradient outside)."""
        mean, log_std = jnp.split(network(observations), 2, axis=-1)
        return DiagonalNormal(jnp.tanh(mean) if self.mean == "tanh" else mean, jnp.clip(log_std, *self.log_std))

    def fit_loss(self, parameters: DiagonalNormal, actions: Actions) -> Values:
        """Negative log-likelihood in nats, summed over action dimensions."""
        return jnp.negative(parameters.distribution().log_prob(actions))
