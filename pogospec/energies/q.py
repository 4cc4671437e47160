"""The value term -E_{a ~ pi}[Q(s, a)]."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.energies.base import AbstractTerm, Context
from pogospec.policies.base import ActionChoice
from pogospec.spec.fields import Within
from pogospec.types import Key, Values


class QTerm(AbstractTerm):
    """Negative action value, at the policy's mean action (POGO as released, TD3+BC) or in expectation."""

    needs_density: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = True

    critics: Annotated[Literal["min", "first", "mean"], "how the critics become one value"] = "min"
    actions: Annotated[
        ActionChoice,
        "mean: Q at the mean action, so that a std gets no gradient from Q; quadrature: E[Q], exact for quadratic Q; "
        "{sample: n}: E[Q] by n reparameterised samples",
    ] = "mean"
    scale: Annotated[
        Literal["none", "batch", "step"],
        "batch: divide by mean |Q| of the batch, as TD3+BC; step: by mean |Q| of the data when the step began",
    ] = "none"
    weight: Annotated[float, Within(ge=0.0), "factor of this term"] = 1.0

    def value(self, parameters: Any, context: Context, key: Key) -> Values:
        """Scaled -Q of each row."""
        chosen = self._q(parameters, context, key)
        if self.scale == "batch":
            chosen = chosen / jax.lax.stop_gradient(jnp.abs(chosen).mean())
        elif self.scale == "step":
            chosen = chosen / context.fixed
        return -chosen

    def begin(self, parameters: Any, context: Context, key: Key) -> Any:
        """Mean |Q| of the policy that the step starts from, where `scale` is `step`."""
        return jnp.abs(self._q(parameters, context, key)).mean() if self.scale == "step" else None

    def _q(self, parameters: Any, context: Context, key: Key) -> Values:
        assert context.q is not None
        actions = context.policy.actions(self.actions, parameters, key)
        actions = actions[0] if len(actions) == 1 else actions  # matrix products of two dimensions are faster
        values = context.q(actions, count=1 if self.critics == "first" else None)
        chosen = {"min": lambda v: v.min(0), "first": lambda v: v[0], "mean": lambda v: v.mean(0)}[self.critics](values)
        return chosen if actions.ndim == context.actions.ndim else chosen.mean(0)
