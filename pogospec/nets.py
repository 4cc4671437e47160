"""Multilayer perceptrons and ensembles of them, on inputs with any leading batch dimensions."""

from __future__ import annotations

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.types import Key

LayerNorm = Literal["none", "before", "after"]
Init = Literal["torch", "lecun", "orthogonal"]


class Linear(eqx.Module):
    """An affine map x @ weight + bias; weight [in, out], bias [out]."""

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Apply the map to the last dimension."""
        return x @ self.weight + self.bias


def linear(key: Key, fan_in: int, fan_out: int, init: Init) -> Linear:
    """A fresh layer.

    `torch`: weights and biases U(±1/sqrt(fan_in)); `lecun`: truncated normal of variance 1/fan_in and zero
    bias (flax's default); `orthogonal`: gain sqrt(2) and zero bias (IQL's).
    """
    weight_key, bias_key = jax.random.split(key)
    shape, bias = (fan_in, fan_out), jnp.zeros(fan_out)
    if init == "torch":
        bound = 1 / math.sqrt(fan_in)
        bias = jax.random.uniform(bias_key, (fan_out,), minval=-bound, maxval=bound)
        return Linear(jax.random.uniform(weight_key, shape, minval=-bound, maxval=bound), bias)
    if init == "lecun":
        return Linear(jax.nn.initializers.lecun_normal()(weight_key, shape), bias)
    return Linear(jax.nn.initializers.orthogonal(math.sqrt(2))(weight_key, shape), bias)


class Norm(eqx.Module):
    """Layer normalisation with scale and offset over the last dimension, epsilon 1e-5."""

    scale: Float[Array, " width"]
    offset: Float[Array, " width"]

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Normalise the last dimension."""
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * self.scale + self.offset


class MLP(eqx.Module):
    """ReLU layers, each with layer normalisation before or after its ReLU or not at all; a linear end."""

    layers: tuple[Linear, ...]
    norms: tuple[Norm, ...]
    layer_norm: LayerNorm = eqx.field(static=True)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Output of the last layer."""
        for index, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            if self.layer_norm == "before":
                x = self.norms[index](x)
            x = jax.nn.relu(x)
            if self.layer_norm == "after":
                x = self.norms[index](x)
        return self.layers[-1](x)


def mlp(
    key: Key,
    fan_in: int,
    hidden: tuple[int, ...],
    fan_out: int,
    layer_norm: LayerNorm = "none",
    init: Init = "torch",
) -> MLP:
    """A fresh network of the given widths."""
    sizes = (fan_in, *hidden, fan_out)
    keys = jax.random.split(key, len(sizes) - 1)
    layers = tuple(linear(k, a, b, init) for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True))
    norms = tuple(Norm(jnp.ones(n), jnp.zeros(n)) for n in hidden) if layer_norm != "none" else ()
    return MLP(layers, norms, layer_norm)


def ensemble(
    key: Key,
    members: int,
    fan_in: int,
    hidden: tuple[int, ...],
    fan_out: int,
    layer_norm: LayerNorm = "none",
    init: Init = "torch",
) -> MLP:
    """Several networks in one, with a leading member dimension on every array."""
    keys = jax.random.split(key, members)
    return jax.vmap(lambda k: mlp(k, fan_in, hidden, fan_out, layer_norm, init))(keys)


def polyak(target, online, rate):
    """Moving average of networks: target + rate (online - target)."""
    return jax.tree.map(lambda t, o: t + rate * (o - t), target, online)
