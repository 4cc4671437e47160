"""What a step scheme is: how one Euler step of the flow changes a policy."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.geometries.base import AbstractGeometry, Seen
from pogospec.policies.base import unsquashed
from pogospec.types import Actions, Key, Params, Scalar, Values


class Proximal(NamedTuple):
    """One proximal term: divergence to a reference, divided by tau."""

    geometry: AbstractGeometry
    reference: str  # behavior, data or previous
    tau: Any


class Problem(NamedTuple):
    """What one Euler step minimises, and how its gradient is taken."""

    energy: dict[str, AbstractTerm]
    proximal: tuple[Proximal, ...]
    gradient: Any


def seen_by(problem: Problem, number: int, context: Context, key: Key) -> Seen:
    """What the geometry of a proximal term looks at."""
    learned = context.learned[number] if context.learned else None
    return Seen(context.observations, jax.random.fold_in(key, len(problem.energy) + number), learned)


def divergences(
    problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
) -> list[Values]:
    """D of each proximal term, one value a row."""
    pairs = enumerate(zip(problem.proximal, references, strict=True))
    return [t.geometry.divergence(parameters, r, seen_by(problem, i, context, key)) for i, (t, r) in pairs]


def potential(problem: Problem, reference: Any, actions: Actions, context: Context) -> Values:
    """First variation of the energy at the reference, up to a constant: -Q(a) + lambda log pi_ref(a) + …."""
    total = jnp.zeros(actions.shape[:-1], actions.dtype)
    for name, term in problem.energy.items():
        seen = context._replace(fixed=context.fixed.get(name))
        total += term.weight * term.potential(actions, reference, seen)
    return total


def slope_of(
    problem: Problem, reference: Any, actions: Actions, context: Context, before: Actions | None = None
) -> Actions:
    """The gradient in actions of that potential; `before`: their pre-activations, of a family that squashes them."""

    def total(actions):
        seen = context._replace(before=None if before is None else unsquashed(before, actions))
        return potential(problem, reference, actions, seen).sum()

    return jax.grad(total)(actions)


def learn(
    problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
) -> tuple[tuple[Any, ...], dict]:
    """The learned state of each proximal term's geometry after an update of the policy, and numbers for people."""
    found, info = [], {}
    for number, (term, reference) in enumerate(zip(problem.proximal, references, strict=True)):
        learned, part = term.geometry.update(parameters, reference, seen_by(problem, number, context, key))
        found.append(learned)
        info |= part
    return tuple(found), info


class AbstractScheme(eqx.Module):
    """A discretisation of the flow."""

    at_reference: ClassVar[bool] = False  # whether it sees the energy by its first variation at points of a reference
    closed: ClassVar[bool] = False  # whether `target` gives the next policy, which a step on a known energy is set to

    def too_large(self, act_dim: int) -> str | None:
        """Why the scheme cannot be used in so many action dimensions; None where it can."""
        return None

    def compares(self, act_dim: int) -> bool:
        """Whether it looks at differences of Q between its points, from which the noise of one minibatch falls out."""
        return False

    def minimised(
        self, problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
    ) -> Scalar | None:
        """What the scheme makes small instead of energy + D/tau, where that has no meaning; None where it has."""
        return None

    def count(self, act_dim: int) -> int:
        """Actions in each state that the scheme looks at, beside those of the energy."""
        return 1

    def health(
        self, problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
    ) -> dict:
        """Numbers that tell whether the scheme can be trusted on these states; none unless a variant has some."""
        return {}

    @abc.abstractmethod
    def gradient(
        self,
        problem: Problem,
        parameters: Callable[[Params], Any],
        network: Params,
        references: tuple[Any, ...],
        context: Context,
        key: Key,
    ) -> tuple[Params, dict]:
        """Gradient with respect to the network's weights, and numbers for people.

        `context.fixed` maps the names of energy terms to what they measured when the step began.
        """
