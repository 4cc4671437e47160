"""Gaussian policies with full covariance: mean and Cholesky factor are heads of one network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.nets import MLP, Activation, Init, LayerNorm, mlp
from pogospec.policies.base import AbstractPolicy, FullNormal
from pogospec.policies.heads import LogStdBounds, Std, StdMap, bounded, unbounded
from pogospec.spec.fields import Increasing, Within
from pogospec.types import Actions, Key, Observations, Params, Space, Values


class SharedFactor(eqx.Module):
    """A network of means, and a Cholesky factor that no state changes."""

    mean: MLP
    log_diagonal: Float[Array, " act"]
    lower: Float[Array, " below"]


class FullGaussianPolicy(AbstractPolicy):
    """Gaussian with correlated dimensions; actions are clipped to the bounds where they are used."""

    parameter_type: ClassVar[type] = FullNormal
    has_density: ClassVar[bool] = True

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the mean"] = "tanh"
    std: Annotated[Std, "state: heads of the network; shared: one learned covariance for all states"] = "state"
    log_std: Annotated[
        LogStdBounds,
        Within(ge=-20.0, le=10.0),
        Increasing(),
        "bounds of the log-diagonal of the Cholesky factor: the log-std of each action given those before it",
    ] = (-5.0, 2.0)
    log_std_map: Annotated[StdMap, "clamp: hard bounds, no gradient outside; tanh: squashed into them"] = "clamp"
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> Params:
        """Networks of mean and factor; a shared factor starts at the identity."""
        act, below = space.act_dim, space.act_dim * (space.act_dim - 1) // 2
        heads = act if self.std == "shared" else 2 * act + below
        net = mlp(
            key, space.obs_dim, self.hidden, heads, self.layer_norm, self.initialization, activation=self.activation
        )
        return net if self.std == "state" else SharedFactor(net, jnp.zeros(act), jnp.zeros(below))

    def parameters(self, network: Params, observations: Observations) -> FullNormal:
        """Mean after its squashing, log-diagonal within its bounds, the entries below the diagonal as they are."""
        mean, log_diagonal, lower = split_factor(network, observations, self.layer_norm)
        mean = jnp.tanh(mean) if self.mean == "tanh" else mean
        return FullNormal(mean, bounded(log_diagonal, self.log_std, self.log_std_map), lower)

    def placed(self, network: Params, mean: Sequence[float], std: Sequence[float]) -> Params:
        """The network whose Gaussian has these moments and no correlation, in every state."""
        size = len(mean)
        lower = jnp.zeros(size * (size - 1) // 2)
        return self.assigned(network, FullNormal(jnp.asarray(mean), jnp.log(jnp.asarray(std)), lower))

    def assigned(self, network: Params, parameters: FullNormal) -> Params:
        """The network that puts out these parameters [act] in every state, as far as its bounds allow."""
        centre = jnp.arctanh(parameters.mean) if self.mean == "tanh" else parameters.mean
        diagonal = unbounded(parameters.log_diagonal, self.log_std, self.log_std_map)
        if isinstance(network, SharedFactor):
            return SharedFactor(network.mean.placed(centre), diagonal, parameters.lower)
        return network.placed(jnp.concatenate([centre, diagonal, parameters.lower]))

    def fit_loss(self, parameters: FullNormal, actions: Actions, key: Key) -> Values:
        """Negative log-likelihood in nats."""
        return -self.log_likelihood(parameters, actions)

    def mean_action(self, parameters: FullNormal) -> Actions:
        """The mean of each row."""
        return parameters.mean


def split_factor(
    network: MLP | SharedFactor, observations: Observations, layer_norm: LayerNorm
) -> tuple[Actions, Actions, Array]:
    """Mean, log-diagonal and lower entries of each row as the networks put them out."""
    if isinstance(network, SharedFactor):
        mean = network.mean(observations, layer_norm)
        rows = mean.shape[:-1]
        lower = jnp.broadcast_to(network.lower, (*rows, len(network.lower)))
        return mean, jnp.broadcast_to(network.log_diagonal, mean.shape), lower
    out = network(observations, layer_norm)
    act = (math.isqrt(9 + 8 * out.shape[-1]) - 3) // 2  # of 2 act + act (act - 1) / 2 outputs
    mean, log_diagonal, lower = jnp.split(out, (act, 2 * act), axis=-1)
    return mean, log_diagonal, lower
