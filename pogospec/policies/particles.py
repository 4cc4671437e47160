"""Particles: actions of the behaviour that are moved along a flow where a decision is made, without a network.

A step says how they move: its scheme, geometry, energy and tau. They are carried by the networks of behaviour and
critic as these are (value gradient flow: arXiv 2604.14265). `Cloud` is what they are in a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.policies.base import AbstractPolicy, noise_of, row_of
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Params, Space, Values


class Borrowed(NamedTuple):
    """The networks of a policy that has none of its own."""

    behavior: Params
    critic: Params


class Carrier(eqx.Module):
    """How particles move and what they are worth; its numbers are apart from all else, so that it may be traced."""

    numbers: Any
    rest: Any = eqx.field(static=True)

    @classmethod
    def of(cls, rule: Any) -> Carrier:
        """A rule whose methods are `moved(points, critic, observations, moves)` and `values(points, …)`."""
        floats, rest = eqx.partition(rule, lambda leaf: isinstance(leaf, float) or eqx.is_array(leaf))
        return cls(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), floats), rest)

    @property
    def rule(self) -> Any:
        """The rule itself."""
        return eqx.combine(self.numbers, self.rest)


class Cloud(eqx.Module):
    """The law of a particle after its moves; `source`: parameters of the actions from which they set out.

    Where networks are stacked, as by a `vmap` over seeds, all arrays have these leading dimensions.
    """

    source: Any
    critic: Params
    observations: Observations
    carrier: Carrier
    stacked: Values  # of no dimensions but those of stacked networks
    count: int = eqx.field(static=True)  # particles in a cloud

    @property
    def noise(self) -> Float[Array, "*batch noise"]:
        """Something of the shape and the type of the standard normals that `at` takes in a row: those of the source."""
        return noise_of(self.source)

    def at(self, z: Float[Array, "*more noise"]) -> Actions:
        """Particles that set out at standard normal z [n, *batch, noise] or [*batch, noise].

        Each `count` of the n are a cloud, and may push each other apart; the last cloud may have fewer.
        """
        return self.moved(z)

    def moved(self, z: Float[Array, "*more noise"], moves: int | None = None) -> Actions:
        """Particles after so many moves, default: as many as those that a step has."""
        return self._on_each(lambda cloud, z: cloud._moved(z, moves), z)

    def values(self, actions: Actions, critics: str) -> Values:
        """The one value of the critics at actions [n, *batch, act]."""

        def of_one(cloud, points):
            return cloud.carrier.rule.values(points, cloud.critic, cloud.observations, critics)

        return self._on_each(of_one, actions)

    def row(self, index: int) -> Cloud:
        """The same law at one row."""
        parts = row_of(self.source, index), self.observations[index]
        return eqx.tree_at(lambda cloud: (cloud.source, cloud.observations), self, parts)

    def _on_each(self, function: Callable[[Cloud, Any], Any], points: Any) -> Any:
        """A function of one network and its points, over stacked ones."""
        if not self.stacked.ndim:
            return function(self, points)
        axis = points.ndim - self.observations.ndim
        return jax.vmap(lambda cloud, p: cloud._on_each(function, p), (0, axis), axis)(self, points)

    def _moved(self, z: Float[Array, "*more noise"], moves: int | None) -> Actions:
        if z.ndim == self.observations.ndim:
            return self._moved(z[None], moves)[0]
        points = self.source.at(z)
        whole = len(points) - len(points) % self.count
        found = []
        if whole:
            clouds = jnp.swapaxes(points[:whole].reshape(-1, self.count, *points.shape[1:]), 0, 1)
            found.append(jnp.swapaxes(self._carried(clouds, moves), 0, 1).reshape(points[:whole].shape))
        if whole < len(points):
            found.append(self._carried(points[whole:], moves))
        return jnp.concatenate(found)

    def _carried(self, points: Actions, moves: int | None) -> Actions:
        return self.carrier.rule.moved(points, self.critic, self.observations, moves)


class ParticlesPolicy(AbstractPolicy):
    """Actions of the behaviour, moved at decision time along the flow of the step; the best of them acts (VGF)."""

    parameter_type: ClassVar[type] = Cloud
    has_density: ClassVar[bool] = False
    looks: ClassVar[tuple[str, ...]] = ("mean", "sample")
    borrows: ClassVar[bool] = True

    count: Annotated[int, Within(ge=1, le=10_000), "particles in a state"] = 10
    moves: Annotated[
        int | None,
        Within(ge=0, le=10_000),
        "moves where it acts, each as long as those of the step; default: as many as the step's",
    ] = None
    action: Annotated[
        Literal["best", "mean"], "the action: best: the particle of the greatest value; mean: the mean of all"
    ] = "best"
    critics: Annotated[
        Literal["min", "first", "mean"], "how the critics become the value by which the best is chosen"
    ] = "min"

    def init(self, key: Key, space: Space) -> Params:
        """It has no network before a step carries it."""
        raise NotImplementedError

    def parameters(self, network: Params, observations: Observations) -> Any:
        """It has none before a step carries it."""
        raise NotImplementedError

    def fit_loss(self, parameters: Any, actions: Actions, key: Key) -> Values:
        """Nothing is fitted."""
        raise NotImplementedError

    def mean_action(self, parameters: Any) -> Actions:
        """The action of particles that set out at fixed noise."""
        return self.chosen(parameters, jax.random.key(0))

    def sample(self, parameters: Cloud, key: Key) -> Actions:
        """The action of particles that set out at fresh noise, one a row."""
        return self.chosen(parameters, key)

    def chosen(self, parameters: Cloud, key: Key) -> Actions:
        """The best of a cloud in each row, or its mean, after as many moves as it takes where it acts."""
        return self._chosen(parameters, self._drawn(parameters.noise, key))

    def sample_noise(self, parameters: Cloud, key: Key) -> Float[Array, "*batch count noise"]:
        """That of all particles of a row."""
        return jnp.moveaxis(self._drawn(parameters.noise, key), 0, -2)

    def at_noise(self, parameters: Cloud, z: Float[Array, "*batch count noise"]) -> Actions:
        """The action of particles that set out at this noise."""
        return self._chosen(parameters, jnp.moveaxis(z, -2, 0))

    def alone(self, parameters: Cloud) -> Actions:
        """The mean action where every row has the fixed noise of a batch of one."""
        like = parameters.noise
        one = (self.count, *(1,) * (like.ndim - 1), like.shape[-1])
        z = jax.random.normal(jax.random.key(0), one, like.dtype)
        return self._chosen(parameters, jnp.broadcast_to(z, (self.count, *like.shape)))

    def _drawn(self, like: Actions, key: Key) -> Float[Array, "count *batch noise"]:
        return jax.random.normal(key, (self.count, *like.shape), like.dtype)

    def _chosen(self, parameters: Cloud, z: Float[Array, "count *batch noise"]) -> Actions:
        points = parameters.moved(z, self.moves)
        if self.action == "mean":
            return points.mean(0)
        best = parameters.values(points, self.critics).argmax(0)
        return jnp.take_along_axis(points, best[None, ..., None], 0)[0]

    def remarks(self) -> list[tuple[str, str]]:
        """How it acts, and what that costs."""
        moves = "as many moves as the step has" if self.moves is None else f"{self.moves} moves"
        which = {"min": "the smallest critic", "first": "the first critic", "mean": "the mean of the critics"}
        value = which[self.critics]
        act = f"the one of the greatest value by {value} acts" if self.action == "best" else "their mean acts"
        grads = f"{self.count} gradients of the critics in each move, and {self.count} actions of π_β"
        return [
            (
                "particles",
                f"no network of its own: {self.count} actions of π_β after {moves} of the length of the step's, from "
                f"fresh noise (action: mean: fixed noise); {act}; they see behaviour and critic as the step left them",
            ),
            ("cost of an action", f"{grads}; more moves where it acts need no training"),
        ]
