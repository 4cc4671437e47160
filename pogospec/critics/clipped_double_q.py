"""Clipped double Q-learning (TD3), with the optional penalty of ReBRAC and BRAC inside the bracket.

y = r + discount (1 - terminated) [min_i Qbar_i(s', a') - penalty],
loss = sum_i mean (Q_i(s, a) - y)^2.
"""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from pogospec.critics.base import AbstractCritic, Views
from pogospec.critics.target_actions import SmoothedMean
from pogospec.nets import MLP, Init, LayerNorm, action_values, ensemble
from pogospec.spec.fields import Slot, Within
from pogospec.types import Batch, Key, Scalar, Space


class ClippedDoubleQ(AbstractCritic):
    """Two critics; the bootstrap takes the smaller of their slow copies."""

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each ReLU, or {place: …, eps: …}"] = "none"
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    discount: Annotated[float, Within(ge=0.0, lt=1.0), "discount factor per environment step"] = 0.99
    target_rate: Annotated[float, Within(gt=0.0, le=1.0), "rate of the slow copies"] = 0.005
    target_actions: Annotated[Any, Slot("target_actions"), "next actions of the bootstrap"] = SmoothedMean()
    target_penalty: Annotated[
        Any | None, Slot("target_penalty", default="squared_distance"), "penalty inside the discount bracket"
    ] = None

    def init(self, key: Key, space: Space) -> MLP:
        """Two networks, stacked."""
        return ensemble(key, 2, space.obs_dim + space.act_dim, self.hidden, 1, self.layer_norm, self.initialization)

    def values(self, network: MLP, observations, actions, count: int | None = None):
        """Both values of each row, [2, *batch], or the first, [1, *batch]; actions may have more leading dimensions."""
        return action_values(network, observations, actions, count, self.layer_norm)

    def loss(self, network: MLP, target: MLP, batch: Batch, views: Views, key: Key) -> tuple[Scalar, dict]:
        """Sum over critics of the mean squared Bellman error."""
        actions = self.target_actions.actions(views, key)
        bootstrap = self.values(target, batch.next_observations, actions).min(0)
        if self.target_penalty is not None:
            bootstrap = bootstrap - self.target_penalty.value(actions, batch, views, key)
        y = jax.lax.stop_gradient(batch.rewards + self.discount * (1 - batch.terminated) * bootstrap)
        q = self.values(network, batch.observations, batch.actions)
        return jnp.square(q - y).mean(-1).sum(), {"q": q.mean()}

    def formula(self, parts: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
        """The loss, then what it is made of, as text and LaTeX; `parts`: formulas of the nodes in its fields."""
        penalty = parts.get("target_penalty")
        inside = "min_i Q̄_i(s', a')" if penalty is None else f"min_i Q̄_i(s', a') − {penalty[0]}"
        latex = r"\min_i \bar Q_i(s', a')" + ("" if penalty is None else f" - {penalty[1]}")
        return [
            ("Σ_i E[(Q_i(s, a) − y)²]", r"\sum_i \mathbb{E}\big[(Q_i(s, a) - y)^2\big]"),
            (
                f"y = r + {self.discount:.12g} (1 − terminated) [{inside}]",
                rf"y = r + {self.discount:.12g}\,(1 - \mathrm{{terminated}})\,\big[{latex}\big]",
            ),
            parts["target_actions"],
        ]
