"""What an energy term is: a number for each state that the flow makes small."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import equinox as eqx

from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Values


class Context(NamedTuple):
    """What a term may look at besides the policy's parameters."""

    observations: Observations
    actions: Actions  # the logged ones
    policy: Any  # the policy family that the parameters belong to
    q: Callable[..., Any] | None  # actions [..., batch, act], count=None, slow=False -> values [critics, ..., batch]
    fixed: Any = None  # what the term's `begin` returned when the first step on this Q began
    learned: tuple[Any, ...] = ()  # learned state of each proximal term's geometry
    v: Callable[[], Values] | None = None  # state values, of a critic that has them
    before: Any = None  # pre-activations of the actions of a potential, of a family that squashes actions

    def log_likelihood(self, parameters: Any, actions: Actions) -> Values:
        """Log density of actions of a potential, from their pre-activations where they have some."""
        return self.policy.log_likelihood(parameters, actions, *([] if self.before is None else [self.before]))


class AbstractTerm(eqx.Module):
    """One term of the energy; minimised."""

    needs_density: ClassVar[bool]
    needs_critic: ClassVar[bool]
    entropic: ClassVar[bool] = False  # whether it is -H, which a kernel or an implicit step follows

    weight: eqx.AbstractVar[Annotated[float, Within(ge=0.0), "factor of this term"]]

    @abc.abstractmethod
    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """The unweighted term for each row."""

    def begin(self, parameters: Any, context: Context, key: Key) -> Any:
        """What the term measures once, when a step begins; None unless a variant says otherwise.

        Further steps on the same Q take it over, so that a chain has one energy.
        """
        return None

    @property
    def begins(self) -> bool:
        """Whether `begin` measures anything."""
        return type(self).begin is not AbstractTerm.begin

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """First variation of the unweighted term at a reference, as a function of actions [..., batch, act].

        Explicit steps need it; a term that is no functional of the density alone has none. A method `variation` may
        write it, as `formula` writes the value.
        """
        raise NotImplementedError

    def offset(self, parameters: Any, context: Context, key: Key) -> Values | float:
        """What the potential is measured from in each state, which matters to weights that are not normalised there.

        `parameters`: those of the policy as it is. A method `weighing` may write the potential without it.
        """
        return 0.0

    @classmethod
    def has_potential(cls) -> bool:
        """Whether explicit steps may use the term."""
        return cls.potential is not AbstractTerm.potential

    def settled(self) -> AbstractTerm:
        """The term as one function of the policy: with what `begin` measured, not with numbers of a minibatch."""
        return self
