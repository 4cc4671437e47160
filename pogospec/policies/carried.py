"""Particles that a step carries: the policy that behaviour, critic and step make together (value gradient flow).

x_1, …, x_n ~ the behaviour, then moves of length tau/L along the velocity of the step's scheme: grad Q, or Stein's.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from pogospec.energies.base import Context
from pogospec.policies.base import AbstractPolicy, ActionChoice, inside, normals
from pogospec.policies.particles import Borrowed, Carrier, Cloud
from pogospec.spec.fields import Slot, Within
from pogospec.steps.base import Problem, Proximal
from pogospec.types import Actions, Key, Observations, Params, Space, Values

PICK = {"min": lambda v: v.min(0), "first": lambda v: v[0], "mean": lambda v: v.mean(0)}


class Hashed(eqx.Module):
    """What fixes a compiled program, though it holds a mapping."""

    def __hash__(self) -> int:
        return hash(tuple(jax.tree.leaves(self)))


class Rule(Hashed):
    """How particles move and what they are worth, given the critic's networks."""

    critic: Any
    scheme: Any
    energy: dict[str, Any]
    geometry: Any
    tau: Any

    def moved(self, points: Actions, network: Params, observations: Observations, moves: int | None) -> Actions:
        """One cloud [n, ..., act] for each row after its moves; default: as many as the step's."""
        if moves == 0:
            return points
        problem = Problem(self.energy, (Proximal(self.geometry, "behavior", self.tau),), None)
        q = lambda actions, count=None, slow=False: self._values(actions, network, observations, count)  # noqa: E731
        context = Context(observations, points[0], None, q, {})
        shares = jnp.full(len(points), 1 / len(points), points.dtype)
        return self.scheme.carried(problem, points, shares, context, moves=moves)

    def values(self, actions: Actions, network: Params, observations: Observations, critics: str) -> Values:
        """The one value of the critics at actions [n, ..., act]."""
        return PICK[critics](self._values(actions, network, observations, 1 if critics == "first" else None))

    def _values(self, actions: Actions, network: Params, observations: Observations, count: int | None) -> Values:
        return self.critic.values(network, observations, inside(actions), count)


class CarriedParticles(Hashed, AbstractPolicy):
    """The particles of a step, whole: with the behaviour that they set out from, and what carries them."""

    slot: ClassVar[str] = "carried"
    parameter_type: ClassVar[type] = Cloud
    has_density: ClassVar[bool] = False
    looks: ClassVar[tuple[str, ...]] = ("mean", "sample")
    borrows: ClassVar[bool] = True

    particles: Annotated[Any, Slot("policy"), "how many there are, and how they act"]
    behavior: Annotated[Any, Slot("policy"), "what they are drawn from"]
    critic: Annotated[Any, Slot("critic"), "what gives Q"]
    energy: Annotated[dict[str, Any], Slot("energy", named=True), "what they make small"]
    geometry: Annotated[Any, Slot("geometry"), "of the step"]
    scheme: Annotated[Any, Slot("scheme"), "of the step"]
    tau: Annotated[float, Within(gt=0.0), "of the step"]

    def init(self, key: Key, space: Space) -> Borrowed:
        """Networks of behaviour and critic, as those of a run are."""
        keys = jax.random.split(key)
        return Borrowed(self.behavior.init(keys[0], space), self.critic.init(keys[1], space))

    def parameters(self, network: Borrowed, observations: Observations) -> Cloud:
        """The law of a particle in each row."""
        source = self.behavior.parameters(network.behavior, observations)
        carrier = Carrier.of(Rule(self.critic, self.scheme, self.energy, self.geometry, self.tau))
        return Cloud(source, network.critic, observations, carrier, jnp.zeros(()), self.particles.count)

    def fit_loss(self, parameters: Cloud, actions: Actions, key: Key) -> Values:
        """Nothing is fitted but the behaviour itself."""
        raise NotImplementedError

    def mean_action(self, parameters: Cloud) -> Actions:
        """The action of particles that set out at fixed noise."""
        return self.particles.mean_action(parameters)

    def sample(self, parameters: Cloud, key: Key) -> Actions:
        """The action of particles that set out at fresh noise, one a row."""
        return self.particles.sample(parameters, key)

    def sample_noise(self, parameters: Cloud, key: Key) -> Any:
        """That of all particles of a row [*batch, count, noise]."""
        return self.particles.sample_noise(parameters, key)

    def at_noise(self, parameters: Cloud, z: Any) -> Actions:
        """The action of particles that set out at this noise."""
        return self.particles.at_noise(parameters, z)

    def alone(self, parameters: Cloud) -> Actions:
        """The mean action where every row has the fixed noise of a batch of one."""
        return self.particles.alone(parameters)

    def actions(self, choice: ActionChoice, parameters: Cloud, key: Key) -> Any:
        """The action that stands for all, or particles: whole clouds are carried, and so many of them taken."""
        if isinstance(choice, str):
            return self.mean_action(parameters)[None]
        size = self.particles.count
        return parameters.at(normals(parameters, -(-choice.sample // size) * size, key))[: choice.sample]
