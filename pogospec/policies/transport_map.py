"""Transport maps: a = T(s, z) of a network T and noise z ~ N(0, I), a policy of any shape without a density.

The one-step policy of flow Q-learning (Park, Li, Levine 2025) is one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pogospec.nets import MLP, Activation, Init, LayerNorm, mlp
from pogospec.policies.base import AbstractPolicy, normals
from pogospec.policies.maps import AbstractMap, epsilon
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Space, Values


class Pushed(AbstractMap):
    """The law of T(s, z), z standard normal; `squash`: what follows the last layer."""

    squash: Literal["tanh", "linear"] = eqx.field(static=True)

    @property
    def noise(self) -> Float[Array, "*batch noise"]:
        """As many as the network takes beside the observations."""
        size = self.network.layers[0].weight.shape[-2] - self.observations.shape[-1]
        return jnp.zeros((*self.observations.shape[:-1], size), self.network.layers[-1].bias.dtype)

    def _actions(self, z: Float[Array, "*more noise"]) -> Actions:
        out = self.put_out(z)
        return jnp.tanh(out) if self.squash == "tanh" else out


class Average(eqx.Module):
    """The mean action as a mean over fixed noise."""

    average: Annotated[int, Within(ge=1), "standard normals, the same in every state"]


class TransportMapPolicy(AbstractPolicy):
    """A network of state and noise; fitted to data by the energy score, a proper score that asks for no density."""

    parameter_type: ClassVar[type] = Pushed
    has_density: ClassVar[bool] = False
    looks: ClassVar[tuple[str, ...]] = ("mean", "sample")

    noise: Annotated[int | None, Within(ge=1), "dimensions of the noise; default: those of the action"] = None
    action: Annotated[
        Literal["zero"] | Average, "the mean action: zero: T(s, 0); {average: n}: the mean over n fixed z"
    ] = "zero"
    fit_samples: Annotated[
        int, Within(ge=2), "actions in each state for the energy score that a behaviour is fitted by"
    ] = 8
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the action"] = "tanh"
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> MLP:
        """One network from observations and noise to actions."""
        inputs = space.obs_dim + (space.act_dim if self.noise is None else self.noise)
        norm, init = self.layer_norm, self.initialization
        return mlp(key, inputs, self.hidden, space.act_dim, norm, init, activation=self.activation)

    def parameters(self, network: MLP, observations: Observations) -> Pushed:
        """The map at each row."""
        return Pushed(network, observations, epsilon(self.layer_norm), self.mean)

    def noise_dimensions(self) -> int | None:
        """As many as `noise` says."""
        return self.noise

    def fit_loss(self, parameters: Pushed, actions: Actions, key: Key) -> Values:
        """The energy score E|T(z) - a| - E|T(z) - T(z')|/2, without bias: no sample is paired with itself.

        Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation" (2007), eq. 22.
        """
        drawn = parameters.at(normals(parameters, self.fit_samples, key))
        i, j = np.triu_indices(self.fit_samples, 1)
        return _lengths(drawn - actions).mean(0) - _lengths(drawn[i] - drawn[j]).mean(0) / 2

    def fit_formula(self) -> tuple[str, str]:
        """Text and LaTeX of the loss that a behaviour is fitted by."""
        n = self.fit_samples
        text = f"E[(1/{n}) Σ_k |a_k − a| − (1/{n * (n - 1)}) Σ_k<l |a_k − a_l|], a_k: {n} samples of π_β(·|s)"
        latex = rf"\tfrac{{1}}{{{n}}}\sum_k |a_k - a| - \tfrac{{1}}{{{n * (n - 1)}}}\sum_{{k<l}} |a_k - a_l|"
        return text, rf"\mathbb{{E}}\big[{latex}\big],\quad a_k \sim \pi_\beta(\cdot\mid s)"

    def remarks(self) -> list[tuple[str, str]]:
        """What the mean action is."""
        how = "T(s, 0)" if self.action == "zero" else f"the mean of T(s, z) over {self.action.average} fixed z"
        return [("map", f"a = T(s, z), z ~ N(0, I); it has no density; its mean action is {how}")]

    def mean_action(self, parameters: Pushed) -> Actions:
        """The action of no noise, or the mean over fixed noise."""
        like = parameters.noise
        if self.action == "zero":
            return parameters.at(like)
        fixed = jax.random.normal(jax.random.key(0), (self.action.average, like.shape[-1]), like.dtype)
        rows = fixed.reshape(-1, *(1,) * (like.ndim - 1), like.shape[-1])
        return parameters.at(jnp.broadcast_to(rows, (len(rows), *like.shape))).mean(0)


def _lengths(gaps: Actions) -> Values:
    squares = jnp.square(gaps).sum(-1)
    apart = squares > 0  # two actions may be the same, and the root has no slope at 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
