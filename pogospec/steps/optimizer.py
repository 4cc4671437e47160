"""Optimisers, built from numbers that may be traced."""

from __future__ import annotations

from typing import Annotated, Literal

import equinox as eqx
import jax.numpy as jnp
import optax

from pogospec.spec.fields import Within
from pogospec.steps.averaging import Decay, Window


class Adam(eqx.Module):
    """Adam with bias correction."""

    learning_rate: Annotated[float, Within(gt=0.0), "step size"] = 3e-4
    b1: Annotated[float, Within(ge=0.0, lt=1.0), "decay of the first moment"] = 0.9
    b2: Annotated[float, Within(ge=0.0, lt=1.0), "decay of the second moment"] = 0.999
    eps: Annotated[float, Within(gt=0.0), "added to the root of the second moment"] = 1e-8
    decay: Annotated[
        Literal["none", "cosine"],
        "cosine: the learning rate falls to 0 over the learner's updates, from where its optimiser was fresh (IQL)",
    ] = "none"
    average: Annotated[
        Window | Decay | None,
        "{window: n} or {decay: d}: what a step leaves, and what is measured, evaluated and saved of it, is a mean of "
        "the learner's weights",
    ] = None

    def transform(self, updates: int) -> optax.GradientTransformation:
        """The optax transformation for so many updates; made anew in every trace."""
        if self.decay == "none":
            return optax.adam(self.learning_rate, self.b1, self.b2, self.eps)

        def rate(count):
            share = jnp.minimum(jnp.asarray(count, float) / updates, 1.0)  # an int32 alone divides to float32
            return self.learning_rate * (1 + jnp.cos(jnp.pi * share)) / 2

        return optax.adam(rate, self.b1, self.b2, self.eps)
