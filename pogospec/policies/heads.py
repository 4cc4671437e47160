"""The networks of Gaussian families: a mean for each state, a log-std for each state or one for all."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.nets import MLP, Activation, Init, LayerNorm, mlp
from pogospec.types import Actions, Key, Observations, Space

Std = Literal["state", "shared"]
StdMap = Literal["clamp", "tanh"]
LogStdBounds = tuple[float, float]


class SharedStd(eqx.Module):
    """A network of means, and a log-std that no state changes."""

    mean: MLP
    log_std: Float[Array, " act"]


class AffineStd(eqx.Module):
    """A network of means and log-stds, and a factor and an offset of the log-stds, learned too (CQL)."""

    heads: MLP
    factor: Float[Array, ""]
    offset: Float[Array, ""]


def init_heads(
    key: Key,
    space: Space,
    hidden: tuple[int, ...],
    std: Std,
    layer_norm: LayerNorm,
    initialization: Init,
    activation: Activation,
) -> MLP | SharedStd:
    """Fresh networks; a shared log-std starts at 0 (IQL, AWAC)."""
    heads = 2 if std == "state" else 1
    net = mlp(key, space.obs_dim, hidden, heads * space.act_dim, layer_norm, initialization, activation=activation)
    return net if std == "state" else SharedStd(net, jnp.zeros(space.act_dim))


def split_heads(
    network: MLP | SharedStd | AffineStd, observations: Observations, layer_norm: LayerNorm
) -> tuple[Actions, Actions]:
    """Mean and log-std of each row as the networks put them out."""
    if isinstance(network, AffineStd):
        mean, log_std = split_heads(network.heads, observations, layer_norm)
        return mean, network.factor * log_std + network.offset
    if isinstance(network, SharedStd):
        mean = network.mean(observations, layer_norm)
        return mean, jnp.broadcast_to(network.log_std, mean.shape)
    mean, log_std = jnp.split(network(observations, layer_norm), 2, axis=-1)
    return mean, log_std


def bounded(log_std: Actions, bounds: LogStdBounds, how: StdMap) -> Actions:
    """A log-std within its bounds."""
    low, high = bounds
    return jnp.clip(log_std, low, high) if how == "clamp" else low + (jnp.tanh(log_std) + 1) / 2 * (high - low)


def unbounded(log_std: Actions, bounds: LogStdBounds, how: StdMap) -> Actions:
    """The output of a network that `bounded` makes this log-std, as far as its bounds allow."""
    if how == "clamp":
        return log_std
    low, high = bounds
    return jnp.arctanh(jnp.clip(2 * (log_std - low) / (high - low) - 1, -0.999, 0.999))


def placed_heads(network: MLP | SharedStd | AffineStd, mean: Actions, log_std: Actions) -> MLP | SharedStd | AffineStd:
    """Networks that put out this mean and log-std [act] in every state."""
    if isinstance(network, AffineStd):
        heads = placed_heads(network.heads, mean, (log_std - network.offset) / network.factor)
        return AffineStd(heads, network.factor, network.offset)  # type: ignore[arg-type]
    if isinstance(network, SharedStd):
        return SharedStd(network.mean.placed(mean), jnp.asarray(log_std, network.log_std.dtype))
    return network.placed(jnp.concatenate([mean, log_std]))
