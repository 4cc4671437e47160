"""The entropy term -H(pi(. | s)), at a weight that is given or learned."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pogospec.energies.base import AbstractTerm, Context
from pogospec.energies.temperature import Learned, Temperature
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class EntropyTerm(AbstractTerm):
    """Negative entropy in nats, of the unclipped distribution; `weight`: lambda, or lambda/alpha beside temperature."""

    needs_density: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False
    entropic: ClassVar[bool] = True

    weight: Annotated[float, Within(ge=0.0), "lambda, the entropy weight"] = 1.0
    temperature: Annotated[
        Temperature | None, "learn a factor alpha of the weight, so that the entropy is what it aims at (SAC): {}"
    ] = None

    def at(self, learned: Learned) -> EntropyTerm:
        """The term with the temperature as it is now."""
        return dataclasses.replace(self, weight=self.weight * learned.alpha, temperature=None)  # type: ignore[arg-type]

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """-H of each row."""
        return -context.policy.entropy(parameters, key)

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """Log pi_ref(a), up to a constant."""
        return context.log_likelihood(reference, actions)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        meaning = "H: entropy in nats of the policy before any clipping"
        if self.temperature is None:
            return "−H[π(·|s)]", r"-\mathcal{H}[\pi(\cdot\mid s)]", meaning
        return "−α H[π(·|s)]", r"-\alpha\,\mathcal{H}[\pi(\cdot\mid s)]", f"α: the learned temperature; {meaning}"

    def variation(self, reference: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` without its weight; `reference`: text and LaTeX of the reference."""
        return f"log {reference[0]}(a|s)", rf"\log {reference[1]}(a\mid s)", ""
