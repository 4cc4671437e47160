"""Flow matching policies: noise carried to actions by Euler steps along a velocity field (the behaviour of FQL, VGF).

da/dt = v(s, a, t) from z ~ N(0, I) at t = 0; v is fitted to the straight lines from noise to logged actions (Lipman et
al. 2023; Liu, Gong, Liu 2023), as in flow Q-learning (Park, Li, Levine 2025).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.nets import MLP, Activation, Init, LayerNorm, mlp
from pogospec.policies.base import AbstractPolicy
from pogospec.policies.maps import AbstractMap, epsilon
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Space, Values


class Flowed(AbstractMap):
    """The law of the end of Euler steps of 1/steps along v from standard normal z; `bound`: what becomes of it."""

    steps: int = eqx.field(static=True)
    bound: Literal["clip", "none"] = eqx.field(static=True)

    @property
    def noise(self) -> Float[Array, "*batch act"]:
        """As many as action dimensions."""
        bias = self.network.layers[-1].bias
        return jnp.zeros((*self.observations.shape[:-1], bias.shape[-1]), bias.dtype)

    def velocity(self, x: Actions, t: Float[Array, "*more 1"]) -> Actions:
        """v(s, x, t) at x [..., *batch, act] and times [..., 1]."""
        return self.put_out(x, t)

    def _actions(self, z: Float[Array, "*more act"]) -> Actions:
        shape = jnp.broadcast_shapes(z.shape, self.noise.shape)

        def euler(x, t):
            return x + self.velocity(x, t[None]) / self.steps, None

        times = jnp.arange(self.steps, dtype=z.dtype) / self.steps
        end = jax.lax.scan(euler, jnp.broadcast_to(z, shape), times)[0]
        return jnp.clip(end, -1.0, 1.0) if self.bound == "clip" else end


class FlowMatchingPolicy(AbstractPolicy):
    """Euler steps along a learned velocity field; fitted to data by flow matching."""

    parameter_type: ClassVar[type] = Flowed
    has_density: ClassVar[bool] = False
    looks: ClassVar[tuple[str, ...]] = ("mean", "sample")

    steps: Annotated[int, Within(ge=1, le=1000), "Euler steps from noise to action (FQL: 10)"] = 10
    bound: Annotated[
        Literal["clip", "none"], "clip: the end is clipped to [-1, 1], no gradient outside (FQL); none: as it is"
    ] = "clip"
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers of v"] = (256, 256)
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer (FQL: gelu)"] = "relu"

    def init(self, key: Key, space: Space) -> MLP:
        """One network from observations, actions and time to velocities."""
        inputs, norm = space.obs_dim + space.act_dim + 1, self.layer_norm
        return mlp(key, inputs, self.hidden, space.act_dim, norm, self.initialization, activation=self.activation)

    def parameters(self, network: MLP, observations: Observations) -> Flowed:
        """The flow at each row."""
        return Flowed(network, observations, epsilon(self.layer_norm), self.steps, self.bound)

    def fit_loss(self, parameters: Flowed, actions: Actions, key: Key) -> Values:
        """|v(s, (1 - t) z + t a, t) - (a - z)|^2 at one t ~ U(0, 1) and z a row, mean over action dimensions."""
        noise_key, time_key = jax.random.split(key)
        z = jax.random.normal(noise_key, actions.shape, actions.dtype)
        t = jax.random.uniform(time_key, (*actions.shape[:-1], 1), actions.dtype)
        found = parameters.velocity((1 - t) * z + t * actions, t)
        return jnp.square(found - (actions - z)).mean(-1)

    def fit_formula(self) -> tuple[str, str]:
        """Text and LaTeX of the loss that a behaviour is fitted by."""
        text = "E[|v(s, (1 − t) z + t a, t) − (a − z)|²/d], z ~ N(0, I) and t ~ U(0, 1) in each row"
        latex = r"\mathbb{E}\big[\tfrac{1}{d}|v(s, (1 - t) z + t a, t) - (a - z)|^2\big]"
        return text, rf"{latex},\quad z \sim \mathcal{{N}}(0, I),\; t \sim \mathcal{{U}}(0, 1)"

    def remarks(self) -> list[tuple[str, str]]:
        """How actions come about."""
        clipped = ", then clipped to [-1, 1]" if self.bound == "clip" else ""
        steps = f"{self.steps} Euler step{'s' * (self.steps > 1)} along v(s, a, t) from z ~ N(0, I){clipped}"
        limit = "as n grows, n steps come as near to the end of the exact flow as 1/n"
        return [
            ("flow", f"{steps}; {limit}; it has no density here; its mean action is the end of the flow from z = 0")
        ]

    def mean_action(self, parameters: Flowed) -> Actions:
        """The end of the flow from 0."""
        return parameters.at(parameters.noise)
