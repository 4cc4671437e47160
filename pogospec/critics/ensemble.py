"""Ensembles of critics: SAC-N, and EDAC, whose critics are to climb in different directions.

y = r + discount (1 - terminated) [min_i Qbar_i(s', a') - lambda log pi(a' | s')],
loss = sum_i mean (Q_i(s, a) - y)^2 + eta/(N - 1) mean_s sum_{i != j} <g_i, g_j>,

where g_i is the gradient of Q_i at the logged action in the action, of length 1 (An, Moon, Kim and Song,
"Uncertainty-Based Offline Reinforcement Learning with Diversified Q-Ensemble", eq. 4 and algorithm 1).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.critics.base import Views
from pogospec.critics.bellman import BellmanCritic, Written
from pogospec.critics.target_actions import PolicySample
from pogospec.nets import MLP
from pogospec.spec.fields import Slot, Within
from pogospec.types import Batch, Key, Scalar

EPS = 1e-10
"""Added to the length of a gradient, so that one of length 0 stays 0 (the authors' code)."""


class Ensemble(BellmanCritic):
    """Many critics; the more there are, the lower the smallest is where data are few (SAC-N, EDAC)."""

    pessimistic: ClassVar[bool] = True

    target_actions: Annotated[Any, Slot("target_actions"), "next actions of the bootstrap"] = PolicySample()
    members: Annotated[int, Within(ge=1), "critics in the ensemble"] = 10
    diversity: Annotated[
        float | None, Within(ge=0.0), "factor of the likeness of the critics' gradients in the action (EDAC's eta)"
    ] = None

    @property
    def size(self) -> int:
        """As many networks as it has members."""
        return self.members

    def loss(self, network: MLP, target: MLP, batch: Batch, views: Views, key: Key) -> tuple[Scalar, dict]:
        """The Bellman error, and what the gradients of the critics have in common."""
        if self.diversity is None:
            return super().loss(network, target, batch, views, key)
        y = self.backup(target, batch, views, key)
        q, gradients = self._with_gradients(network, batch)
        alike = likeness(gradients)
        loss = self.reduced(jnp.square(q - y).mean(-1)) + self.diversity * alike
        return loss, {"q": q.mean(), "likeness": alike}

    def formula(self, parts: dict[str, Written]) -> list[Written]:
        """The loss, then what it is made of, as text and LaTeX; `parts`: formulas of the nodes in its fields."""
        (text, latex), *rest = super().formula(parts)
        if self.diversity is None:
            return [(text, latex), *rest]
        factor, others = f"{self.diversity:.12g}", self.members - 1
        pairs = r"\mathbb{E}\big[\sum_{i\neq j}\langle g_i, g_j\rangle\big]"
        return [
            (
                f"{text} + ({factor}/{others}) E[Σ_(i≠j) ⟨g_i, g_j⟩]",
                rf"{latex} + \tfrac{{{factor}}}{{{others}}}{pairs}",
            ),
            *rest,
            (
                "g_i = ∇_a Q_i(s, a) / |∇_a Q_i(s, a)|",
                r"g_i = \nabla_a Q_i(s, a) \,/\, |\nabla_a Q_i(s, a)|",
            ),
        ]

    def _with_gradients(
        self, network: MLP, batch: Batch
    ) -> tuple[Float[Array, "critics batch"], Float[Array, "critics batch act"]]:
        """Values of the logged actions by each critic, and the gradients of each in its action."""
        own = jnp.broadcast_to(batch.actions, (self.members, *batch.actions.shape))

        def values(own):
            one = lambda net, a: net(jnp.concatenate([batch.observations, a], -1), self.layer_norm)[..., 0]  # noqa: E731
            return jax.vmap(one)(network, own)

        q, pull_back = jax.vjp(values, own)
        return q, pull_back(jnp.ones_like(q))[0]


def likeness(gradients: Float[Array, "critics batch act"]) -> Scalar:
    """Mean over the batch of sum_{i != j} <g_i, g_j> / (N - 1), g_i: gradients of length 1."""
    squares = jnp.square(gradients).sum(-1, keepdims=True)
    some = squares > 0  # the root has no slope at 0
    lengths = jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)
    units = gradients / (lengths + EPS)
    pairs = jnp.square(units.sum(0)).sum(-1) - jnp.square(units).sum((0, -1))
    return pairs.mean() / (len(gradients) - 1)
