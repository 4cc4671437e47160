"""Conservative Q-learning (CQL): values of actions that the data do not hold are pushed below those of logged ones.

loss = sum_i mean (Q_i(s, a) - y)^2 + weight sum_i mean [T log sum_k exp((Q_i(s, a_k) - log p(a_k)) / T) - Q_i(s, a)],

where the a_k are n uniform actions, n samples of the policy at s' and n at s, and p is the density that each was drawn
with (Kumar, Zhou, Tucker and Levine, "Conservative Q-Learning for Offline Reinforcement Learning", eq. 4, appendix F;
samples at s' and the learned multiplier as in the authors' code and CORL's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.critics.base import Views
from pogospec.critics.bellman import BellmanCritic, Written
from pogospec.critics.target_actions import PolicySample
from pogospec.nets import MLP
from pogospec.spec.fields import Slot, Within
from pogospec.types import Batch, Key, Scalar, Space

OTHERS = 1
"""Folded into the key of the critic's loss for the actions that are pushed down, which are not those of the target."""
MOST = 1e6
"""Largest multiplier (CORL)."""


class Lagrange(eqx.Module):
    """A multiplier of the conservative term, learned by dual ascent until the term is `gap`."""

    gap: Annotated[float, "what the conservative term of a critic is to be on average (CORL on AntMaze: 0.8)"]
    start: Annotated[float, Within(gt=0.0), "multiplier at the beginning (CORL: e)"] = 2.718281828459045

    def value(self, log: Scalar) -> Scalar:
        """The multiplier of its logarithm."""
        return jnp.minimum(jnp.exp(log), MOST)


class Networks(NamedTuple):
    """Two action values, stacked, and the logarithm of the learned multiplier; slow copies have none of it."""

    q: MLP
    log_multiplier: Scalar | None


class Conservative(BellmanCritic):
    """Two critics, low where the policy strays from the data (CQL)."""

    pessimistic: ClassVar[bool] = True
    needs_density: ClassVar[bool] = True  # of the policy whose samples are pushed down

    target_actions: Annotated[Any, Slot("target_actions"), "next actions of the bootstrap"] = PolicySample()
    weight: Annotated[float, Within(ge=0.0), "factor of the conservative term (CQL's alpha)"] = 10.0
    samples: Annotated[int, Within(ge=1), "actions of each sort that are pushed down: uniform, at s', at s"] = 10
    temperature: Annotated[float, Within(gt=0.0), "of the soft maximum over these actions"] = 1.0
    floor: Annotated[
        float | None, "the conservative term of a row counts no less than this (null: no floor; CORL on AntMaze: -200)"
    ] = None
    lagrange: Annotated[Lagrange | None, "learn a further factor of the term, so that it stays near {gap: …}"] = None

    @property
    def size(self) -> int:
        """Two networks."""
        return 2

    def init(self, key: Key, space: Space) -> Networks:
        """Two networks, and the multiplier where it is learned."""
        log = None if self.lagrange is None else jnp.log(jnp.asarray(self.lagrange.start, float))
        return Networks(super().init(key, space), log)

    def networks(self, network: Networks) -> MLP:
        """The two networks."""
        return network.q

    def slow(self, network: Networks) -> Networks:
        """Action values alone have slow copies."""
        return network._replace(log_multiplier=None)

    def loss(self, network: Networks, target: Networks, batch: Batch, views: Views, key: Key) -> tuple[Scalar, dict]:
        """The Bellman error and the conservative term; nothing flows into the multiplier."""
        y = self.backup(target, batch, views, key)
        q = self.values(network, batch.observations, batch.actions)
        gaps = self.gaps(network, q, batch, views, jax.random.fold_in(key, OTHERS)).mean(-1)
        info, terms = {"q": q.mean(), "conservative_gap": gaps.mean()}, self.weight * gaps
        if self.lagrange is not None:
            assert network.log_multiplier is not None
            multiplier = self.lagrange.value(jax.lax.stop_gradient(network.log_multiplier))
            terms = multiplier * self.weight * (gaps - self.lagrange.gap)
            info["multiplier"] = multiplier
        return self.reduced(jnp.square(q - y).mean(-1) + terms), info

    def gradient(
        self,
        network: Networks,
        target: Networks,
        batch: Batch,
        views: Views,
        key: Key,
        step: Callable[[Networks], Networks],
    ) -> tuple[Networks, dict]:
        """Gradient of the loss, and for the multiplier that of the dual, which rises where the term exceeds its aim."""
        gradient, info = super().gradient(network, target, batch, views, key, step)
        lagrange = self.lagrange
        if lagrange is not None:
            excess = self.weight * (info["conservative_gap"] - lagrange.gap)
            dual = jax.grad(lambda log: -lagrange.value(log) * excess)(network.log_multiplier)
            gradient = gradient._replace(log_multiplier=dual)
        return gradient, info

    def gaps(self, network: Networks, q: Array, batch: Batch, views: Views, key: Key) -> Float[Array, "critics batch"]:
        """The conservative term of each critic and row, before its factors; q: values of the logged actions."""
        assert views.scored is not None
        assert views.scored_here is not None
        uniform_key, next_key, here_key = jax.random.split(key, 3)
        uniform = jax.random.uniform(uniform_key, (self.samples, *batch.actions.shape), q.dtype, -1, 1)
        level = jnp.full(uniform.shape[:-1], -uniform.shape[-1] * jnp.log(2.0), q.dtype)
        drawn = (uniform, level), views.scored(next_key, self.samples), views.scored_here(here_key, self.samples)
        actions, densities = (jax.lax.stop_gradient(jnp.concatenate(parts)) for parts in zip(*drawn, strict=True))
        corrected = (self.values(network, batch.observations, actions) - densities) / self.temperature
        gaps = self.temperature * jax.nn.logsumexp(corrected, 1) - q
        return gaps if self.floor is None else jnp.maximum(gaps, self.floor)

    def formula(self, parts: dict[str, Written]) -> list[Written]:
        """The loss, then what it is made of, as text and LaTeX; `parts`: formulas of the nodes in its fields."""
        (text, latex), *rest = super().formula(parts)
        weight, over = f"{self.weight:.12g}", self.over_critics
        factor, tex = (weight, weight) if self.lagrange is None else (f"ν {weight}", rf"\nu\,{weight}")
        term, term_tex = "C_i", "C_i"
        if self.floor is not None:
            term, term_tex = f"max(C_i, {self.floor:.12g})", rf"\max(C_i, {self.floor:.12g})"
        inner, inner_tex = f"E[{term}]", rf"\mathbb{{E}}\big[{term_tex}\big]"
        if self.lagrange is not None:
            gap = f"{self.lagrange.gap:.12g}"
            inner, inner_tex = f"({inner} − {gap})", rf"\big({inner_tex} - {gap}\big)"
        n, t = self.samples, f"{self.temperature:.12g}"
        soft = "log Σ_k exp(Q_i(s, a_k) − log p(a_k))"
        soft_tex = r"\log \sum_k \exp\big(Q_i(s, a_k) - \log p(a_k)\big)"
        if self.temperature != 1:
            soft = f"{t} log Σ_k exp((Q_i(s, a_k) − log p(a_k)) / {t})"
            soft_tex = rf"{t} \log \sum_k \exp\big((Q_i(s, a_k) - \log p(a_k)) / {t}\big)"
        drawn = f"{n} uniform in [-1, 1], {n} samples of the policy at the next state, {n} at the state"
        found = [
            (f"{text} + {factor} · {over[0]} {inner}", rf"{latex} + {tex}\, {over[1]} {inner_tex}"),
            *rest,
            (f"C_i = {soft} − Q_i(s, a)", f"C_i = {soft_tex} - Q_i(s, a)"),
            (f"a_k: {drawn}; p: the density that each was drawn with", rf"a_k \sim p:\ \text{{{drawn}}}"),
        ]
        if self.lagrange is not None:
            aim = f"{self.lagrange.start:.6g}, rises where the mean term of a critic exceeds {self.lagrange.gap:.12g}"
            words = f"learned by the critic's optimiser on its logarithm, starts at {aim}, at most {MOST:g}"
            found.append((f"ν: {words}", rf"\nu:\ \text{{{words}}}"))
        return found
