"""What a policy family is: networks that put out the parameters of an action distribution.

`Point` and `DiagonalNormal` are parameter types: what networks put out, what natural gradients act on, what
crosses a `vmap`. The table of geometries is keyed by them; a NumPyro distribution is made from them where
one is needed.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpyro.distributions as dist

from pogospec.types import Actions, Key, Observations, Params, Space, Values


class Point(NamedTuple):
    """A Dirac at `mean` [..., act]."""

    mean: Actions

    def distribution(self) -> dist.Distribution:
        """The Dirac measure as a NumPyro Delta."""
        return dist.Delta(self.mean, event_dim=1)


class DiagonalNormal(NamedTuple):
    """A Gaussian with independent dimensions; `mean` and `log_std` [..., act]."""

    mean: Actions
    log_std: Actions

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        return dist.Normal(self.mean, jnp.exp(self.log_std)).to_event(1)


class AbstractPolicy(eqx.Module):
    """A policy family; its fields are configuration, its networks come from `init`."""

    parameter_type: ClassVar[type]
    has_density: ClassVar[bool]

    @abc.abstractmethod
    def init(self, key: Key, space: Space) -> Params:
        """Fresh networks."""

    @abc.abstractmethod
    def parameters(self, network: Params, observations: Observations) -> Any:
        """Parameters of the action distributions, in actions scaled to [-1, 1]."""

    @abc.abstractmethod
    def fit_loss(self, parameters: Any, actions: Actions) -> Values:
        """Loss of fitting logged actions, one value a row."""

    def sample(self, parameters: Any, key: Key) -> Actions:
        """One action a row, clipped to the bounds."""
        return jnp.clip(parameters.distribution().sample(key), -1.0, 1.0)

    def mean_action(self, parameters: Any) -> Actions:
        """The mean action of each row, clipped to the bounds."""
        return jnp.clip(parameters.mean, -1.0, 1.0)
