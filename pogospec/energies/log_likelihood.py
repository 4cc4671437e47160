"""The negative log-likelihood of the logged actions, -log pi(a | s): behaviour cloning as an energy."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pogospec.energies.base import AbstractTerm, Context
from pogospec.spec.fields import Within
from pogospec.types import Key, Values


class LogLikelihoodTerm(AbstractTerm):
    """Negative log-likelihood of the logged actions in nats; alone it is behaviour cloning."""

    needs_density: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """-log pi(a | s) of each row."""
        return -context.policy.log_likelihood(parameters, context.actions)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        return "−log π(a|s)", r"-\log\pi(a\mid s)", "π(a|s): density of the logged action, its log in nats"
