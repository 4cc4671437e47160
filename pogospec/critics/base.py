"""What a critic is: networks for action values, their loss, and their slow copies."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax

from pogospec.types import Actions, Batch, Key, Observations, Params, Scalar, Space, Values


class Views(NamedTuple):
    """What a critic may ask of the policies at the next observations; actions are within the bounds.

    Mean actions are [batch, act]; samples of a key are as many as are asked for, [count, batch, act].
    """

    target_mean: Callable[[], Actions]  # mean action of the slow copy of the policy
    online_sample: Callable[[Key, int], Actions]  # samples of the policy
    online: Callable[[], Any]  # parameters of the policy
    behavior: Callable[[], Any] | None  # parameters of the fitted behaviour
    behavior_mean: Callable[[], Actions] | None  # mean action of the fitted behaviour
    learned: Callable[[Any], Any]  # a geometry -> the learned state of the step's proximal term of that kind
    target_sample: Callable[[Key, int], Actions] | None = None  # samples of the slow copy of the policy
    scored: Callable[[Key, int], tuple[Actions, Values]] | None = None  # `online_sample`s with their log densities
    scored_here: Callable[[Key, int], tuple[Actions, Values]] | None = None  # likewise at the observations
    entropy_weight: Scalar | float = 0.0  # that of the step's energy, as it is now


class AbstractCritic(eqx.Module):
    """A critic; its fields are configuration, its networks come from `init`."""

    needs_policy: ClassVar[bool] = True  # whether its loss asks for next actions of a policy
    pessimistic: ClassVar[bool] = False  # whether its values are low where data are few, and so hold the policy back
    needs_density: ClassVar[bool] = False  # whether it asks for the density of that policy

    target_rate: eqx.AbstractVar[float]

    @abc.abstractmethod
    def init(self, key: Key, space: Space) -> Params:
        """Fresh networks."""

    @abc.abstractmethod
    def values(self, network: Params, observations, actions, count: int | None = None) -> Any:
        """Q values [critics, batch] of all critics, or of the first `count`; the others are not computed."""

    def state_values(self, network: Params, observations: Observations) -> Values:
        """Values of the states themselves, one a row; a critic of action values alone has none."""
        raise NotImplementedError

    @classmethod
    def has_state_values(cls) -> bool:
        """Whether it learns values of states."""
        return cls.state_values is not AbstractCritic.state_values

    def slow(self, network: Params) -> Params:
        """The part of the networks that slow copies follow, in their form."""
        return network

    def for_policy(self, earlier: Params, network: Params) -> Params:
        """What the policy sees of the networks in the update that changed `earlier` to `network`."""
        return network

    def loss(self, network: Params, target: Params, batch: Batch, views: Views, key: Key) -> tuple[Scalar, dict]:
        """Loss of a batch, and numbers for people; `target`: the slow copies. Not asked where `gradient` is given."""
        raise NotImplementedError

    def gradient(
        self,
        network: Params,
        target: Params,
        batch: Batch,
        views: Views,
        key: Key,
        step: Callable[[Params], Params],
    ) -> tuple[Params, dict]:
        """Gradient of the loss of a batch, and numbers for people, `critic_loss` among them.

        `step` gives the networks after an optimiser's step along a gradient, for parts that look at new weights.
        """
        (value, info), gradient = jax.value_and_grad(self.loss, has_aux=True)(network, target, batch, views, key)
        return gradient, {"critic_loss": value} | info
