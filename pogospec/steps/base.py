"""What a step scheme is: how one Euler step of the flow changes a policy."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx

from pogospec.energies.base import AbstractTerm, Context
from pogospec.geometries.base import AbstractGeometry
from pogospec.types import Key, Params, Scalar


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


class AbstractScheme(eqx.Module):
    """A discretisation of the flow."""

    def too_large(self, act_dim: int) -> str | None:
        """Why the scheme cannot be used in so many action dimensions; None where it can."""
        return None

    def minimised(
        self, problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
    ) -> Scalar | None:
        """What the scheme makes small instead of energy + D/tau, where that has no meaning; None where it has."""
        return None

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
