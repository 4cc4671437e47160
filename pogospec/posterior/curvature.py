"""Whether a log density has the second derivatives that closed steps ask for, and what they do without."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pogospec.errors import UsageError
from pogospec.steps.closed import AbstractCurved
from pogospec.targets.base import AbstractTarget
from pogospec.targets.traced import said


def lacks_curvature(target: AbstractTarget, scheme: Any) -> bool:
    """Whether a scheme would take second derivatives that the density does not have.

    Raises UsageError where somebody asked for them.
    """
    if not isinstance(scheme, AbstractCurved) or scheme.curved(target.dimensions) != "exact":
        return False
    why = _lacking(target)
    if why is not None and scheme.curvature == "exact":
        what = f"found 'exact', which takes second derivatives that the log density does not have ({why})"
        raise UsageError(f"flow: scheme.curvature: {what}; allowed plane, which takes gradients alone")
    return why is not None


def _lacking(target: AbstractTarget) -> str | None:
    """Why there are no second derivatives; None where there are, forward or reverse over reverse."""
    gradient = jax.grad(target.log_density)
    at = jax.ShapeDtypeStruct((target.dimensions,), jnp.zeros(()).dtype)
    try:
        jax.eval_shape(gradient, at)
    except Exception:
        return None  # the density fails by itself, which is told where it is asked for
    for derivative in (lambda x: jax.jvp(gradient, (x,), (x,)), lambda x: jax.vjp(gradient, x)[1](x)):
        try:
            jax.eval_shape(derivative, at)
            return None
        except Exception as error:
            why = said(error)
    return why
