"""tanh-squashed Gaussian policies (SAC, BRAC, CQL): every action lies inside the bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from pogospec.nets import Activation, Init, LayerNorm
from pogospec.policies.base import AbstractPolicy, TanhNormal, log_slope, panels
from pogospec.policies.heads import (
    AffineStd,
    LogStdBounds,
    Std,
    StdMap,
    bounded,
    init_heads,
    placed_heads,
    split_heads,
    unbounded,
)
from pogospec.spec.fields import Increasing, Within
from pogospec.types import Actions, Key, Observations, Params, Space, Values


class TanhGaussianPolicy(AbstractPolicy):
    """tanh of a Gaussian with independent dimensions; its mean action is the tanh of the Gaussian's mean."""

    parameter_type: ClassVar[type] = TanhNormal
    has_density: ClassVar[bool] = True

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    std: Annotated[Std, "state: a head of the network; shared: one learned std for all states"] = "state"
    log_std: Annotated[LogStdBounds, Within(ge=-20.0, le=10.0), Increasing(), "bounds of the log-std"] = (-5.0, 2.0)
    log_std_map: Annotated[StdMap, "clamp: hard bounds, no gradient outside; tanh: squashed into them (BRAC)"] = "clamp"
    log_std_affine: Annotated[
        tuple[float, float] | None,
        "learned factor and offset of the log-std before its bounds, at the beginning (CQL: [1, -1])",
    ] = None
    margin: Annotated[
        float,
        Within(gt=0.0, le=0.1),
        "logged actions are kept this far inside the bounds where their density is taken (BRAC: 1e-3)",
    ] = 1e-3
    entropy_samples: Annotated[int, Within(ge=1), "samples of the squashing's part of the entropy"] = 1
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> Params:
        """Networks of mean and log-std before the tanh."""
        heads: Any = init_heads(
            key, space, self.hidden, self.std, self.layer_norm, self.initialization, self.activation
        )
        if self.log_std_affine is None:
            return heads
        return AffineStd(heads, *(jnp.asarray(number, float) for number in self.log_std_affine))

    def parameters(self, network: Params, observations: Observations) -> TanhNormal:
        """Mean before the tanh, log-std within its bounds."""
        mean, log_std = split_heads(network, observations, self.layer_norm)
        return TanhNormal(mean, bounded(log_std, self.log_std, self.log_std_map))

    def placed(self, network: Params, mean: Sequence[float], std: Sequence[float]) -> Params:
        """The network whose Gaussian before the tanh has these moments in every state."""
        log_std = unbounded(jnp.log(jnp.asarray(std)), self.log_std, self.log_std_map)
        return placed_heads(network, jnp.asarray(mean), log_std)

    def fit_loss(self, parameters: TanhNormal, actions: Actions, key: Key) -> Values:
        """Negative log-likelihood in nats, summed over action dimensions."""
        return -self.log_likelihood(parameters, actions)

    def log_likelihood(self, parameters: TanhNormal, actions: Actions, before: Actions | None = None) -> Values:
        """Log density in nats, of logged actions `margin` inside the bounds; `before`: pre-activations of others."""
        distribution: Any = parameters.distribution()
        if before is not None:
            return distribution.log_prob(actions, [before])
        return distribution.log_prob(jnp.clip(actions, self.margin - 1, 1 - self.margin))

    def mean_square(self, parameters: TanhNormal) -> Values:
        """E |a|^2 of each row, by quadrature along each dimension."""
        z, shares = panels(parameters)
        return (shares * jnp.square(parameters.at(z))).sum((0, -1))

    def entropy(self, parameters: TanhNormal, key: Key) -> Values:
        """Entropy in nats: the Gaussian's exactly, plus E[log |d tanh|] by samples, which keep their pre-activation."""
        gaussian = parameters.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e)
        samples = (self.entropy_samples, *parameters.mean.shape)
        before = parameters.mean + jnp.exp(parameters.log_std) * jax.random.normal(key, samples, parameters.mean.dtype)
        return (gaussian + log_slope(before).mean(0)).sum(-1)

    def mean_action(self, parameters: TanhNormal) -> Actions:
        """Tanh of the Gaussian's mean: the median of each dimension."""
        return jnp.tanh(parameters.mean)
