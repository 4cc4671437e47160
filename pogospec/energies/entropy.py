"""The entropy term -H(pi(. | s))."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pogospec.energies.base import AbstractTerm, Context
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class EntropyTerm(AbstractTerm):
    """Negative entropy in nats, of the unclipped distribution; `weight` is lambda."""

    needs_density: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    weight: Annotated[float, Within(ge=0.0), "lambda, the entropy weight"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """-H of each row."""
        return -context.policy.entropy(parameters, key)

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """Log pi_ref(a), up to a constant."""
        return context.log_likelihood(reference, actions)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        return "−H[π(·|s)]", r"-\mathcal{H}[\pi(\cdot\mid s)]", "H: entropy in nats of the policy before any clipping"

    def variation(self, reference: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` without its weight; `reference`: text and LaTeX of the reference."""
        return f"log {reference[0]}(a|s)", rf"\log {reference[1]}(a\mid s)", ""
