"""The squared error of the mean action, |mu(s) - a|^2: behaviour cloning that no std reweights."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.spec.fields import Within
from pogospec.types import Key, Values


class SquaredErrorTerm(AbstractTerm):
    """Squared error of the mean action, which a std has no part in; alone it is behaviour cloning as in CORL."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = False

    reduction: Annotated[Literal["sum", "mean"], "over action dimensions (CORL: mean)"] = "mean"
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """|mu(s) - a|^2 of each row, in actions scaled to [-1, 1]."""
        squares = jnp.square(context.policy.mean_action(parameters) - context.actions)
        return squares.mean(-1) if self.reduction == "mean" else squares.sum(-1)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of the unweighted term; a leading minus is drawn in front of its weight."""
        text, latex = "|μ(s) − a|²", r"|\mu(s) - a|^2"
        if self.reduction == "mean":
            text, latex = f"{text}/d", rf"\tfrac{{1}}{{d}}{latex}"
        return text, latex, "μ(s): the mean action; a: the logged action; d: action dimensions"
