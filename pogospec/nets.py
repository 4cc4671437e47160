"""Multilayer perceptrons and ensembles of them, on inputs with any leading batch dimensions."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.spec.fields import Within
from pogospec.types import Key


class Normalized(eqx.Module):
    """Layer normalisation whose epsilon is said."""

    place: Annotated[Literal["before", "after"], "before or after each activation"]
    eps: Annotated[float, Within(gt=0.0), "added to the variance (torch: 1e-5, flax: 1e-6)"] = 1e-5


LayerNorm = Literal["none", "before", "after"] | Normalized
"""Where layers are normalised; a word alone adds 1e-5 to the variance."""
Init = Literal["torch", "lecun", "orthogonal", "glorot", "rebrac", "cql_policy", "cql_critic"]
HIDDEN: dict[Init, Init] = {"cql_policy": "torch", "cql_critic": "orthogonal"}
"""What hidden layers are drawn like where last layers are small."""
Activation = Literal["relu", "gelu", "silu", "tanh"]
"""What follows each hidden layer; gelu in its approximation by tanh, as flax has it."""


class Linear(eqx.Module):
    """An affine map x @ weight + bias; weight [in, out], bias [out]; `rounded`: products of bfloat16 numbers."""

    weight: Float[Array, "in out"]
    bias: Float[Array, " out"]
    rounded: bool = eqx.field(static=True, default=False)

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Apply the map to the last dimension."""
        return (rounded_product(x, self.weight) if self.rounded else x @ self.weight) + self.bias


def _rounded(x: Array) -> Array:
    return x.astype(jnp.bfloat16)


@jax.custom_vjp
def rounded_product(x: Float[Array, "*batch in"], weight: Float[Array, "in out"]) -> Float[Array, "*batch out"]:
    """The product x @ weight of numbers rounded to bfloat16, summed in the type of x; its gradients likewise."""
    return jnp.matmul(_rounded(x), _rounded(weight), preferred_element_type=x.dtype)


def _forward(x, weight):
    return rounded_product(x, weight), (x, weight)


def _backward(saved, pull):
    x, weight = saved
    flat, pulls = x.reshape(-1, x.shape[-1]), pull.reshape(-1, pull.shape[-1])
    # XLA has no kernel on processors for rounded numbers whose first factor is transposed on the way
    across = jax.lax.optimization_barrier(_rounded(flat).T)
    return rounded_product(pull, weight.T), jnp.matmul(across, _rounded(pulls), preferred_element_type=x.dtype)


rounded_product.defvjp(_forward, _backward)


def with_products(tree, rounded: bool):
    """Networks whose layers multiply numbers rounded to bfloat16, or as they are."""

    def change(node):
        return Linear(node.weight, node.bias, rounded) if isinstance(node, Linear) else node

    return jax.tree.map(change, tree, is_leaf=lambda node: isinstance(node, Linear))


def linear(key: Key, fan_in: int, fan_out: int, init: Init, end: float | None = None) -> Linear:
    """A fresh layer; `end`, given for a last layer alone, is its bound under `rebrac`.

    `torch`: weights and biases U(±1/sqrt(fan_in)); `lecun`: truncated normal of variance 1/fan_in and zero
    bias (flax's default); `orthogonal`: gain sqrt(2) and zero bias (IQL's); `glorot`: uniform and zero bias
    (TensorFlow's default, BRAC's); `rebrac`: U(±1/sqrt(fan_in)) and bias 0.1, last layer all U(±end)
    (ReBRAC, SAC-N, EDAC); `cql_policy`: as `torch`, `cql_critic`: as `orthogonal`, but the last layer of 1/100 of a
    glorot's or an orthogonal layer's gain 1, and zero bias (CORL's CQL).
    """
    if end is None:
        init = HIDDEN.get(init, init)
    weight_key, bias_key = jax.random.split(key)
    shape, bias = (fan_in, fan_out), jnp.zeros(fan_out)
    if init in ("torch", "rebrac"):
        bound = 1 / math.sqrt(max(fan_in, 1)) if end is None or init == "torch" else end
        bias = jax.random.uniform(bias_key, (fan_out,), minval=-bound, maxval=bound)
        bias = jnp.full(fan_out, 0.1) if init == "rebrac" and end is None else bias
        return Linear(jax.random.uniform(weight_key, shape, minval=-bound, maxval=bound), bias)
    if fan_in == 0:  # nothing to draw, and JAX's initialisers divide by the size
        return Linear(jnp.zeros(shape), bias)
    draw = {
        "lecun": jax.nn.initializers.lecun_normal(),
        "orthogonal": jax.nn.initializers.orthogonal(math.sqrt(2)),
        "glorot": jax.nn.initializers.glorot_uniform(),
        "cql_policy": jax.nn.initializers.glorot_uniform(),
        "cql_critic": jax.nn.initializers.orthogonal(),
    }[init]
    return Linear(draw(weight_key, shape) * (0.01 if init in HIDDEN else 1.0), bias)


class Norm(eqx.Module):
    """Layer normalisation with scale and offset over the last dimension."""

    scale: Float[Array, " width"]
    offset: Float[Array, " width"]

    def __call__(self, x: Float[Array, "*batch width"], eps: float) -> Float[Array, "*batch width"]:
        """Normalise the last dimension; `eps` is added to the variance."""
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + eps) * self.scale + self.offset


class MLP(eqx.Module):
    """Hidden layers, each with layer normalisation before or after its activation or not at all; a linear end."""

    layers: tuple[Linear, ...]
    norms: tuple[Norm, ...]
    layer_norm: Literal["none", "before", "after"] = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default="relu")

    def placed(self, outputs: Float[Array, " out"]) -> MLP:
        """The network whose last layer puts out these numbers whatever it is given."""
        last = self.layers[-1]
        return self.ending(Linear(jnp.zeros_like(last.weight), jnp.asarray(outputs, last.bias.dtype), last.rounded))

    def ending(self, last: Linear) -> MLP:
        """The network with another last layer."""
        return MLP((*self.layers[:-1], last), self.norms, self.layer_norm, self.activation)

    def __call__(self, x: Float[Array, "*batch in"], layer_norm: LayerNorm = "none") -> Float[Array, "*batch out"]:
        """Output of the last layer; `layer_norm`: what a family or a critic says of it, for its epsilon."""
        eps = layer_norm.eps if isinstance(layer_norm, Normalized) else 1e-5
        for index, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            if self.layer_norm == "before":
                x = self.norms[index](x, eps)
            x = getattr(jax.nn, self.activation)(x)
            if self.layer_norm == "after":
                x = self.norms[index](x, eps)
        return self.layers[-1](x)


def mlp(
    key: Key,
    fan_in: int,
    hidden: tuple[int, ...],
    fan_out: int,
    layer_norm: LayerNorm = "none",
    init: Init = "torch",
    end: float = 1e-3,
    activation: Activation = "relu",
) -> MLP:
    """A fresh network of the given widths; `end`: bound of the last layer under `rebrac`, 1e-3 for policies."""
    sizes = (fan_in, *hidden, fan_out)
    keys = jax.random.split(key, len(sizes) - 1)
    ends = (*(None for _ in hidden), end)
    layers = tuple(linear(k, a, b, init, e) for k, a, b, e in zip(keys, sizes[:-1], sizes[1:], ends, strict=True))
    place = layer_norm.place if isinstance(layer_norm, Normalized) else layer_norm
    norms = tuple(Norm(jnp.ones(n), jnp.zeros(n)) for n in hidden) if place != "none" else ()
    return MLP(layers, norms, place, activation)


def ensemble(
    key: Key,
    members: int,
    fan_in: int,
    hidden: tuple[int, ...],
    fan_out: int,
    layer_norm: LayerNorm = "none",
    init: Init = "torch",
    end: float = 3e-3,
    activation: Activation = "relu",
) -> MLP:
    """Several networks in one, with a leading member dimension on every array; `end`: as in `mlp`, 3e-3 for critics."""
    keys = jax.random.split(key, members)
    return jax.vmap(lambda k: mlp(k, fan_in, hidden, fan_out, layer_norm, init, end, activation))(keys)


def action_values(networks: MLP, observations, actions, count: int | None = None, layer_norm: LayerNorm = "none"):
    """Values [networks, *batch] of all networks of an ensemble at actions [*batch, act], or of the first `count`.

    Actions may have more leading dimensions than observations.
    """
    observations = jnp.broadcast_to(observations, (*actions.shape[:-1], observations.shape[-1]))
    inputs = jnp.concatenate([observations, actions], -1)
    if count == 1:
        return jax.tree.map(lambda leaf: leaf[0], networks)(inputs, layer_norm)[None, ..., 0]
    chosen = jax.tree.map(lambda leaf: leaf[:count], networks)
    # from inputs that all share, XLA makes one wide product, which it has to take apart by copies
    own = jnp.broadcast_to(inputs, (len(chosen.layers[0].bias), *inputs.shape))
    return jax.vmap(lambda net, given: net(given, layer_norm))(chosen, own)[..., 0]


def polyak(target, online, rate):
    """Moving average of networks: target + rate (online - target)."""
    return jax.tree.map(lambda t, o: t + rate * (o - t), target, online)
