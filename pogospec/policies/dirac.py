"""Deterministic policies: a Dirac at the output of a network (TD3+BC, ReBRAC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp

from pogospec.nets import MLP, Activation, Init, LayerNorm, mlp
from pogospec.policies.base import AbstractPolicy, Point
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Space, Values


class DiracPolicy(AbstractPolicy):
    """Deterministic policy; fitted to data by squared error."""

    parameter_type: ClassVar[type] = Point
    has_density: ClassVar[bool] = False
    looks: ClassVar[tuple[str, ...]] = ("mean",)

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the action"] = "tanh"
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> MLP:
        """One network from observations to actions."""
        return mlp(
            key,
            space.obs_dim,
            self.hidden,
            space.act_dim,
            self.layer_norm,
            self.initialization,
            activation=self.activation,
        )

    def parameters(self, network: MLP, observations: Observations) -> Point:
        """The action of each row."""
        out = network(observations, self.layer_norm)
        return Point(jnp.tanh(out) if self.mean == "tanh" else out)

    def placed(self, network: MLP, mean: Sequence[float], std: Sequence[float]) -> MLP:
        """The network whose action is the mean, in every state."""
        return network.placed(jnp.arctanh(jnp.asarray(mean)) if self.mean == "tanh" else jnp.asarray(mean))

    def fit_loss(self, parameters: Point, actions: Actions, key: Key) -> Values:
        """Squared error, mean over action dimensions."""
        return jnp.square(parameters.mean - actions).mean(-1)

    def mean_action(self, parameters: Point) -> Actions:
        """The action of each row."""
        return parameters.mean
