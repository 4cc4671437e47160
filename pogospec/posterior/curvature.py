"""Whether a log density has the second derivatives that closed steps ask for, and what they do without."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pogospec import registry
from pogospec.errors import UsageError
from pogospec.targets.base import AbstractTarget
from pogospec.targets.traced import said


def with_curvature(target: AbstractTarget, scheme: dict[str, Any]) -> dict[str, Any]:
    """The scheme of a flow, by a plane where nobody asked for second derivatives that the density does not have.

    Raises UsageError where somebody did.
    """
    kind = scheme.get("kind")
    if not isinstance(kind, str) or kind not in registry.table("scheme") or not registry.load("scheme", kind).closed:
        return scheme
    asked = scheme.get("curvature")
    exact = (
        asked == "exact" if asked is not None else registry.load("scheme", kind)().curved(target.dimensions) == "exact"
    )
    why = _lacking(target) if exact else None
    if why is None:
        return scheme
    if asked == "exact":
        what = f"found 'exact', which takes second derivatives that the log density does not have ({why})"
        raise UsageError(f"flow: scheme.curvature: {what}; allowed plane, which takes gradients alone")
    return scheme | {"curvature": "plane"}


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
