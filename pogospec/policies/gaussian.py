"""Diagonal Gaussian policies: mean and log-std are heads of one network (POGO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp

from pogospec.nets import Activation, Init, LayerNorm
from pogospec.policies.base import AbstractPolicy, DiagonalNormal
from pogospec.policies.heads import LogStdBounds, Std, StdMap, bounded, init_heads, placed_heads, split_heads, unbounded
from pogospec.spec.fields import Increasing, Within
from pogospec.types import Actions, Key, Observations, Params, Space, Values


class GaussianPolicy(AbstractPolicy):
    """Gaussian with independent dimensions; actions are clipped to the bounds where they are used."""

    parameter_type: ClassVar[type] = DiagonalNormal
    has_density: ClassVar[bool] = True

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the mean"] = "tanh"
    std: Annotated[Std, "state: a head of the network; shared: one learned std for all states (IQL)"] = "state"
    log_std: Annotated[LogStdBounds, Within(ge=-20.0, le=10.0), Increasing(), "bounds of the log-std"] = (-5.0, 2.0)
    log_std_map: Annotated[StdMap, "clamp: hard bounds, no gradient outside; tanh: squashed into them (BRAC)"] = "clamp"
    fit_variance_offset: Annotated[
        float | None,
        Within(gt=0.0),
        "added to the variance in the likelihood that a behaviour is fitted by (POGO: 1e-6)",
    ] = None
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> Params:
        """Networks of mean and log-std."""
        return init_heads(key, space, self.hidden, self.std, self.layer_norm, self.initialization, self.activation)

    def parameters(self, network: Params, observations: Observations) -> DiagonalNormal:
        """Mean after its squashing, log-std within its bounds."""
        mean, log_std = split_heads(network, observations, self.layer_norm)
        mean = jnp.tanh(mean) if self.mean == "tanh" else mean
        return DiagonalNormal(mean, bounded(log_std, self.log_std, self.log_std_map))

    def placed(self, network: Params, mean: Sequence[float], std: Sequence[float]) -> Params:
        """The network whose Gaussian has these moments in every state."""
        return self.assigned(network, DiagonalNormal(jnp.asarray(mean), jnp.log(jnp.asarray(std))))

    def assigned(self, network: Params, parameters: DiagonalNormal) -> Params:
        """The network that puts out these parameters [act] in every state, as far as its bounds allow."""
        centre = jnp.arctanh(parameters.mean) if self.mean == "tanh" else parameters.mean
        return placed_heads(network, centre, unbounded(parameters.log_std, self.log_std, self.log_std_map))

    def fit_loss(self, parameters: DiagonalNormal, actions: Actions, key: Key) -> Values:
        """Negative log-likelihood in nats, summed over action dimensions."""
        if self.fit_variance_offset is not None:
            variance = jnp.exp(2 * parameters.log_std) + self.fit_variance_offset
            parameters = parameters._replace(log_std=jnp.log(variance) / 2)
        return -self.log_likelihood(parameters, actions)

    def mean_action(self, parameters: DiagonalNormal) -> Actions:
        """The mean of each row."""
        return parameters.mean
