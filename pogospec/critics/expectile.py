"""Implicit Q-learning (IQL): values of states by expectile regression, which asks for logged actions alone.

u = min_i Qbar_i(s, a) - V(s),  L_V = mean |expectile - 1(u < 0)| u^2,
y = r + discount (1 - terminated) V(s'),  L_Q = sum_i mean (Q_i(s, a) - y)^2,

where y takes V after its update (Kostrikov, Nair and Levine, "Offline Reinforcement Learning with Implicit Q-Learning",
eqs. 5 and 6, in the order of its released code), or before it, as CORL's code does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from pogospec.critics.base import AbstractCritic, Views
from pogospec.nets import MLP, Activation, Init, LayerNorm, action_values, ensemble, mlp
from pogospec.spec.fields import Within
from pogospec.types import Batch, Key, Observations, Scalar, Space, Values


class Networks(NamedTuple):
    """Two action values, stacked, and a value of states; the slow copies have none of it."""

    q: MLP
    v: MLP | None


class Expectile(AbstractCritic):
    """Two critics whose bootstrap is a state value, an expectile of the slow critics over logged actions (IQL)."""

    needs_policy: ClassVar[bool] = False

    expectile: Annotated[
        float, Within(gt=0.0, lt=1.0), "expectile of Q over logged actions that V learns (IQL's tau); 0.5: its mean"
    ] = 0.7
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers, of Q and V"] = (256, 256)
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    discount: Annotated[float, Within(ge=0.0, lt=1.0), "discount factor per environment step"] = 0.99
    target_rate: Annotated[float, Within(gt=0.0, le=1.0), "rate of the slow copies of Q"] = 0.005
    seen_value: Annotated[
        Literal["updated", "before_update"],
        "the V that Q's target and the policy see: after its update (the authors), or before it (CORL)",
    ] = "updated"

    def init(self, key: Key, space: Space) -> Networks:
        """Two action values and a value of states."""
        q_key, v_key = jax.random.split(key)
        style = self.layer_norm, self.initialization
        q = ensemble(q_key, 2, space.obs_dim + space.act_dim, self.hidden, 1, *style, activation=self.activation)
        return Networks(q, mlp(v_key, space.obs_dim, self.hidden, 1, *style, end=3e-3, activation=self.activation))

    def values(self, network: Networks, observations, actions, count: int | None = None):
        """Both values of each row, [2, *batch], or the first, [1, *batch]; actions may have more leading dimensions."""
        return action_values(network.q, observations, actions, count, self.layer_norm)

    def state_values(self, network: Networks, observations: Observations) -> Values:
        """V of each row."""
        assert network.v is not None
        return network.v(observations, self.layer_norm)[..., 0]

    def slow(self, network: Networks) -> Networks:
        """Q alone has slow copies."""
        return network._replace(v=None)

    def for_policy(self, earlier: Networks, network: Networks) -> Networks:
        """The networks, V as the policy is to see it."""
        return network if self.seen_value == "updated" else network._replace(v=earlier.v)

    def gradient(
        self,
        network: Networks,
        target: Networks,
        batch: Batch,
        views: Views,
        key: Key,
        step: Callable[[Networks], Networks],
    ) -> tuple[Networks, dict]:
        """Gradients of both losses, that of Q beside the V that it sees; numbers for people."""

        def value_loss(v: MLP) -> tuple[Scalar, Scalar]:
            values = self.state_values(network._replace(v=v), batch.observations)
            gap = self.values(target, batch.observations, batch.actions).min(0) - values
            return (jnp.where(gap > 0, self.expectile, 1 - self.expectile) * jnp.square(gap)).mean(), values.mean()

        def action_loss(q: MLP) -> tuple[Scalar, Scalar]:
            values = self.values(network._replace(q=q), batch.observations, batch.actions)
            return jnp.square(values - y).mean(-1).sum(), values.mean()

        (of_v, v), v_gradient = jax.value_and_grad(value_loss, has_aux=True)(network.v)
        ahead = network
        if self.seen_value == "updated":
            ahead = step(Networks(jax.tree.map(jnp.zeros_like, network.q), v_gradient))
        y = batch.rewards + self.discount * (1 - batch.terminated) * self.state_values(ahead, batch.next_observations)
        (of_q, q), q_gradient = jax.value_and_grad(action_loss, has_aux=True)(network.q)
        return Networks(q_gradient, v_gradient), {"critic_loss": of_q + of_v, "q": q, "v": v}

    def formula(self, parts: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
        """The loss, then what it is made of, as text and LaTeX; `parts`: formulas of the nodes in its fields."""
        expectile, discount = f"{self.expectile:.12g}", f"{self.discount:.12g}"
        when = "after" if self.seen_value == "updated" else "before"
        return [
            (
                "Σ_i E[(Q_i(s, a) − y)²] + E[L(min_i Q̄_i(s, a) − V(s))]",
                r"\sum_i \mathbb{E}\big[(Q_i(s, a) - y)^2\big] + \mathbb{E}\big[L(\min_i \bar Q_i(s, a) - V(s))\big]",
            ),
            (
                f"y = r + {discount} (1 − terminated) V(s'), V {when} its update",
                rf"y = r + {discount}\,(1 - \mathrm{{terminated}})\, V(s'),\quad V \text{{ {when} its update}}",
            ),
            (
                f"L(u) = |{expectile} − 1[u < 0]| u²",
                rf"L(u) = |{expectile} - \mathbf{{1}}[u < 0]|\, u^2",
            ),
        ]
