"""The Hellinger divergence D = 4 (1 - BC), half the squared chord of the Fisher-Rao sphere of radius 2.

BC is the Bhattacharyya affinity. D agrees with d_FR^2 / 2 to leading order and is bounded by 4.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from pogospec.geometries.base import AbstractGeometry
from pogospec.geometries.full_gaussians import bhattacharyya_full, register_full
from pogospec.geometries.gaussians import FISHER_CLIP, bhattacharyya, register
from pogospec.spec.fields import Within
from pogospec.types import Values


class Hellinger(AbstractGeometry):
    """Four times one minus the Bhattacharyya affinity; bounded, saturates at 4."""

    kind: ClassVar[str] = "hellinger"
    needs_density: ClassVar[bool] = True
    natural_clip: ClassVar[tuple[float, float]] = FISHER_CLIP
    retraction = "reweight"

    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        meaning = "BC: Bhattacharyya affinity ∫√(pq), between 0 and 1"
        return f"4 (1 − BC({p[0]}, {q[0]}))", rf"4\,(1 - \mathrm{{BC}}({p[1]}, {q[1]}))", meaning


@jax.custom_jvp
def half_squared_chord(b: Values) -> Values:
    """4 (1 - exp(-B)) of B = -log BC."""
    return -4 * jnp.expm1(-b)


@half_squared_chord.defjvp
def _half_squared_chord_jvp(primals, tangents):
    # JAX differentiates expm1(-B) as expm1(-B) + 1, which has lost exp(-B) at large B in float32
    (b,), (b_dot,) = primals, tangents
    return half_squared_chord(b), 4 * jnp.exp(-b) * b_dot


register("hellinger", lambda geometry, p, q: half_squared_chord(bhattacharyya(p, q)))
register_full("hellinger", lambda geometry, p, q: half_squared_chord(bhattacharyya_full(p, q)))
