"""The squared length of actions, E_{a ~ pi} |a|^2: a control cost."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.policies.base import ActionChoice
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class ActionNormTerm(AbstractTerm):
    """Squared Euclidean norm of the action, in actions scaled to [-1, 1]."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = False

    actions: Annotated[
        ActionChoice,
        "mean: of the mean action; quadrature: its expectation; {sample: n}: by n samples",
    ] = "mean"
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """E |a|^2 of each row."""
        if self.actions == "quadrature":
            return context.policy.mean_square(parameters)
        return context.policy.average(self.actions, lambda a: jnp.square(a).sum(-1), parameters, key)

    def potential(self, actions: Actions, reference: Any, context: Context) -> Values:
        """|a|^2."""
        return jnp.square(actions).sum(-1)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        if self.actions == "mean":
            return "|μ(s)|²", r"|\mu(s)|^2", "μ(s): the mean action"
        if self.actions == "quadrature":
            return "E_π[|a|²]", r"\mathbb{E}_{a\sim\pi}|a|^2", "E_π: exact for Gaussians, else by quadrature"
        count = self.actions.sample
        text, latex = f"(1/{count}) Σ_k |a_k|²", rf"\tfrac{{1}}{{{count}}}\sum_{{k}}|a_k|^2"
        return text, latex, f"a_k: {count} sample{'s' * (count > 1)} of π(·|s), reparameterised"

    def variation(self, reference: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of `potential` without its weight."""
        return "|a|²", r"|a|^2", ""
