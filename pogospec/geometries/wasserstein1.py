"""The 1-Wasserstein distance by its Kantorovich dual, with a learned critic (BRAC's W).

W1(p, q) = sup E_p c(s, a) - E_q c(s, b) over functions c that are 1-Lipschitz in the action. A network c is trained on

    -[c(s, a) - c(s, b)] + penalty max(|grad_a c(s, e)| - 1, 0)^2,  e = a + u (b - a), u uniform in [0, 1],

a ~ policy, b ~ reference: the one-sided gradient penalty (Wu, Tucker, Nachum, "Behavior Regularized Offline
Reinforcement Learning"). After each update of the policy c takes some Adam steps on the minibatch, with fresh samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pogospec.geometries.base import AbstractSampled, Seen, drawn
from pogospec.nets import MLP, Init, mlp
from pogospec.policies.base import noise_of
from pogospec.spec.fields import Within
from pogospec.types import Key, Observations, Scalar, Space, Values

ROUND = 1e-8
"""Under the root of the gradient's length, which has no slope at 0 otherwise."""


class Dual(NamedTuple):
    """The learned state: the dual critic and its Adam."""

    network: MLP
    optimizer: Any


class Wasserstein1(AbstractSampled):
    """1-Wasserstein distance by a learned dual critic; tau is the reciprocal of a penalty weight, BRAC's alpha."""

    kind: ClassVar[str] = "wasserstein1"
    learns: ClassVar[bool] = True

    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers of the dual critic"] = (256, 256)
    initialization: Annotated[Init, "how its weights and biases are drawn"] = "torch"
    learning_rate: Annotated[float, Within(gt=0.0), "step size of its Adam (BRAC: 1e-3)"] = 1e-3
    steps: Annotated[int, Within(ge=1), "its updates after each update of the policy (BRAC: 3)"] = 3
    penalty: Annotated[float, Within(ge=0.0), "factor of the one-sided gradient penalty (BRAC: 5)"] = 5.0
    samples: Annotated[int, Within(ge=1), "actions of each distribution in a state (BRAC: 1)"] = 1
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def init(self, key: Key, space: Space) -> Dual:
        """A fresh dual critic of observations and actions."""
        network = mlp(key, space.obs_dim + space.act_dim, self.hidden, 1, init=self.initialization, end=3e-3)
        return Dual(network, self._adam().init(network))  # type: ignore[arg-type]

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """The gap of the dual critic as it is now, of each row; nothing flows into its weights."""
        assert seen is not None
        a, b = drawn(policy, reference, self.samples, seen.key)
        return _gap(jax.lax.stop_gradient(seen.learned.network), seen.observations, a, b)

    def update(self, policy: Any, reference: Any, seen: Seen) -> tuple[Dual, dict]:
        """The dual critic after its steps towards the supremum, and its last loss."""
        policy, reference = jax.lax.stop_gradient((policy, reference))

        def step(index, carry):
            dual, _ = carry
            key = jax.random.fold_in(seen.key, index)
            value, gradient = jax.value_and_grad(self._loss)(dual.network, policy, reference, seen.observations, key)
            updates, optimizer = self._adam().update(gradient, dual.optimizer)
            return Dual(optax.apply_updates(dual.network, updates), optimizer), value  # type: ignore[arg-type]

        begin = seen.learned, jnp.zeros((), noise_of(policy).dtype)
        dual, value = jax.lax.fori_loop(0, self.steps, step, begin)
        return dual, {"dual_loss": value}

    def _loss(self, network: MLP, policy: Any, reference: Any, observations: Observations, key: Key) -> Scalar:
        """What the dual critic minimises."""
        samples_key, place_key = jax.random.split(key)
        a, b = drawn(policy, reference, self.samples, samples_key)
        between = a + jax.random.uniform(place_key, (*a.shape[:-1], 1), a.dtype) * (b - a)
        slopes = jax.grad(lambda actions: _values(network, observations, actions).sum())(between)
        lengths = jnp.sqrt(ROUND + jnp.square(slopes).sum(-1))
        steep = jnp.square(jnp.maximum(lengths - 1, 0)).mean()
        return self.penalty * steep - _gap(network, observations, a, b).mean()

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate)

    def accuracy(self) -> str:
        """How bias and noise fall with the samples, in words."""
        return (
            f"n = {self.samples} actions of each: no bias for c as it is, noise falls as 1/√n; c lags behind the "
            "policy, and its slope may exceed 1, which more actions do not mend"
        )

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        count = self.samples
        gap = "c(s, a₁) − c(s, b₁)" if count == 1 else f"(1/{count}) Σ_k [c(s, a_k) − c(s, b_k)]"
        index = "₁" if count == 1 else "_k"
        drawn_as = f"a{index} ~ {p[0]} and b{index} ~ {q[0]} in each state"
        meaning = f"W₁: 1-Wasserstein distance, by the learned dual critic c as {gap}, {drawn_as}"
        return f"W₁({p[0]}, {q[0]})", rf"W_1({p[1]}, {q[1]})", meaning

    def learning(self, number: Callable[[float], str]) -> str:
        """How the dual critic is trained, in words; `number` writes a number."""
        often = "a step" if self.steps == 1 else f"{self.steps} steps"
        return (
            f"minimise  E[c(s, b) − c(s, a)] + {number(self.penalty)} E[max(|∇c(s, a + u (b − a))| − 1, 0)²];  "
            f"Adam {number(self.learning_rate)}, {often} after each update of the policy, on its minibatch"
        )


def _values(network: MLP, observations: Observations, actions: Any) -> Values:
    """Values [count, rows] of actions [count, rows, act]."""
    observations = jnp.broadcast_to(observations, (*actions.shape[:-1], observations.shape[-1]))
    return network(jnp.concatenate([observations, actions], -1))[..., 0]


def _gap(network: MLP, observations: Observations, a: Any, b: Any) -> Values:
    return (_values(network, observations, a) - _values(network, observations, b)).mean(0)
