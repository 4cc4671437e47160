"""What a critic is: networks for action values, their loss, and their slow copies."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx

from pogospec.types import Actions, Batch, Key, Params, Scalar, Space


class Views(NamedTuple):
    """What a critic may ask of the policies at the next observations; actions [batch, act] are within the bounds."""

    target_mean: Callable[[], Actions]  # mean action of the slow copy of the policy
    online_sample: Callable[[Key], Actions]  # a sample of the policy
    online: Callable[[], Any]  # parameters of the policy
    behavior: Callable[[], Any] | None  # parameters of the fitted behaviour
    behavior_mean: Callable[[], Actions] | None  # mean action of the fitted behaviour
    learned: Callable[[Any], Any]  # a geometry -> the learned state of the step's proximal term of that kind


class AbstractCritic(eqx.Module):
    """A critic; its fields are configuration, its networks come from `init`."""

    target_rate: eqx.AbstractVar[float]

    @abc.abstractmethod
    def init(self, key: Key, space: Space) -> Params:
        """Fresh networks."""

    @abc.abstractmethod
    def values(self, network: Params, observations, actions, count: int | None = None) -> Any:
        """Q values [critics, batch] of all critics, or of the first `count`; the others are not computed."""

    @abc.abstractmethod
    def loss(self, network: Params, target: Params, batch: Batch, views: Views, key: Key) -> tuple[Scalar, dict]:
        """Loss of a batch, and numbers for people."""
