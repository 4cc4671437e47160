"""Critics of action values alone, fitted by squared errors to one target, which their slow copies make.

y = r + discount (1 - terminated) [min_i Qbar_i(s', a') - lambda log pi(a' | s') - penalty],
loss = sum_i mean (Q_i(s, a) - y)^2.

Every variant is a key: the mean over the copies in the place of the smallest, the mean of the losses, no entropy.
"""

from __future__ import annotations

import abc
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.critics.base import AbstractCritic, Views
from pogospec.critics.target_actions import SmoothedMean
from pogospec.nets import MLP, Activation, Init, LayerNorm, action_values, ensemble
from pogospec.spec.fields import Slot, Within
from pogospec.types import Batch, Key, Params, Scalar, Space, Values

Written = tuple[str, str]
"""Text and LaTeX."""


class BellmanCritic(AbstractCritic):
    """Several networks, stacked, that learn one target; a kind says how many there are."""

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    activation: Annotated[Activation, "what follows each hidden layer (FQL: gelu)"] = "relu"
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    discount: Annotated[float, Within(ge=0.0, lt=1.0), "discount factor per environment step"] = 0.99
    target_rate: Annotated[float, Within(gt=0.0, le=1.0), "rate of the slow copies"] = 0.005
    target_actions: Annotated[Any, Slot("target_actions"), "next actions of the bootstrap"] = SmoothedMean()
    target_penalty: Annotated[
        Any | None, Slot("target_penalty", default="squared_distance"), "penalty inside the discount bracket"
    ] = None
    q_agg: Annotated[Literal["min", "mean"], "how the slow copies become one value of the next action (FQL: mean)"] = (
        "min"
    )
    reduction: Annotated[Literal["sum", "mean"], "of the losses of the critics to one (FQL: mean)"] = "sum"
    backup_entropy: Annotated[
        bool, "take lambda log pi(a'|s') off the next value, lambda: the entropy weight of the step's energy (SAC)"
    ] = False

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many networks there are."""

    def init(self, key: Key, space: Space) -> Params:
        """All networks, stacked."""
        inputs = space.obs_dim + space.act_dim
        draw = self.initialization
        return ensemble(key, self.size, inputs, self.hidden, 1, self.layer_norm, draw, activation=self.activation)

    def networks(self, network: Params) -> MLP:
        """The stacked networks of action values among what `init` made."""
        return network

    def values(self, network: Params, observations, actions, count: int | None = None):
        """Values [critics, *batch] of each row, or of the first `count`; actions may have more leading dimensions."""
        return action_values(self.networks(network), observations, actions, count, self.layer_norm)

    def loss(self, network: Params, target: Params, batch: Batch, views: Views, key: Key) -> tuple[Scalar, dict]:
        """Sum, or mean, over critics of the mean squared Bellman error."""
        y = self.backup(target, batch, views, key)
        q = self.values(network, batch.observations, batch.actions)
        return self.reduced(jnp.square(q - y).mean(-1)), {"q": q.mean()}

    def backup(self, target: Params, batch: Batch, views: Views, key: Key) -> Values:
        """The target y of each row; no gradient flows into it."""
        if self.backup_entropy:
            actions, density = self.target_actions.scored(views, key)
        else:
            actions, density = self.target_actions.actions(views, key), None
        if len(actions) == 1:  # matrix products of two dimensions are faster
            actions, density = actions[0], None if density is None else density[0]
        copies = self.values(target, batch.next_observations, actions)
        bootstrap = copies.min(0) if self.q_agg == "min" else copies.mean(0)
        averaged = bootstrap.ndim > 1 and self.target_actions.over == "mean"
        if bootstrap.ndim > 1 and not averaged:  # several actions in each state, of which the best counts
            best = bootstrap.argmax(0)[None]
            bootstrap, actions = _taken(bootstrap, best), _taken(actions, best)
            density = None if density is None else _taken(density, best)
        if density is not None:
            bootstrap = bootstrap - views.entropy_weight * density
        if self.target_penalty is not None:
            bootstrap = bootstrap - self.target_penalty.value(actions, batch, views, key)
        if averaged:
            bootstrap = bootstrap.mean(0)
        return jax.lax.stop_gradient(batch.rewards + self.discount * (1 - batch.terminated) * bootstrap)

    def reduced(self, losses: Float[Array, " critics"]) -> Scalar:
        """The losses of all critics as one."""
        return losses.sum() if self.reduction == "sum" else losses.mean()

    @property
    def over_critics(self) -> Written:
        """What `reduced` does, written in front of the loss of critic i."""
        if self.reduction == "sum":
            return "Σ_i", r"\sum_i"
        return f"(1/{self.size}) Σ_i", rf"\tfrac{{1}}{{{self.size}}}\sum_i"

    def formula(self, parts: dict[str, Written]) -> list[Written]:
        """The loss, then what it is made of, as text and LaTeX; `parts`: formulas of the nodes in its fields."""
        text, latex = self.over_critics
        first = f"{text} E[(Q_i(s, a) − y)²]", rf"{latex} \mathbb{{E}}\big[(Q_i(s, a) - y)^2\big]"
        return [first, *self.definitions(parts)]

    def definitions(self, parts: dict[str, Written]) -> list[Written]:
        """The target and the next actions."""
        agg, penalty = self.q_agg, parts.get("target_penalty")
        text = f"{agg}_i Q̄_i(s', a')"
        latex = (r"\min" if agg == "min" else r"\mathrm{mean}") + r"_i \bar Q_i(s', a')"
        if self.backup_entropy:
            text, latex = f"{text} − λ log π(a'|s')", rf"{latex} - \lambda \log\pi(a'\mid s')"
        if penalty is not None:
            text, latex = f"{text} − {penalty[0]}", f"{latex} - {penalty[1]}"
        discount = f"{self.discount:.12g}"
        found = [
            (
                f"y = r + {discount} (1 − terminated) [{text}]",
                rf"y = r + {discount}\,(1 - \mathrm{{terminated}})\,\big[{latex}\big]",
            ),
            parts["target_actions"],
        ]
        if self.backup_entropy:
            found.append(
                (
                    "λ: the entropy weight of this step's energy, as it is now",
                    r"\lambda:\ \text{the entropy weight of this step's energy, as it is now}",
                )
            )
        return found


def _taken(rows: Array, best: Array) -> Array:
    """Rows [n, batch, ...] at the numbers [1, batch] of one entry each."""
    return jnp.take_along_axis(rows, best.reshape(*best.shape, *(1,) * (rows.ndim - best.ndim)), 0)[0]
