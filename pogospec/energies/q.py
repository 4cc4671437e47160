"""The value term -E_{a ~ pi}[Q(s, a)]."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.spec.fields import Within
from pogospec.types import Key, Values


class QTerm(AbstractTerm):
    """-Q at the mean action, so that a Gaussian's std gets no gradient from it (POGO as released, TD3+BC)."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    critics: Annotated[Literal["min", "first", "mean"], "how the critics become one value"] = "min"
    actions: Annotated[Literal["mean"], "where Q is taken: at the policy's mean action"] = "mean"
    scale: Annotated[Literal["none", "batch"], "batch: divide by mean |Q| of the batch, as TD3+BC"] = "none"
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """Scaled -Q of each row."""
        assert context.q is not None
        count = 1 if self.critics == "first" else None
        values = context.q(jnp.clip(parameters.mean, -1.0, 1.0), count=count)
        chosen = {"min": lambda v: v.min(0), "first": lambda v: v[0], "mean": lambda v: v.mean(0)}[self.critics](values)
        if self.scale == "batch":
            chosen = chosen / jax.lax.stop_gradient(jnp.abs(chosen).mean())
        return -chosen
