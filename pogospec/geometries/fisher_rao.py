"""The Fisher-Rao geometry of all densities (Hellinger sphere of radius 2): d = 2 arccos BC, D = d^2 / 2.

BC is the Bhattacharyya affinity, computed from its logarithm: with B = -log BC,
d = 4 arcsin(sqrt(-expm1(-B) / 2)), d^2 = 8 B - (8/3) B^2 + O(B^3), d in [0, pi].
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

SERIES_BELOW = 1e-3


class FisherRao(AbstractGeometry):
    """Half the squared Fisher-Rao distance 2 arccos(affinity); bounded, saturates at pi^2/2."""

    kind: ClassVar[str] = "fisher_rao"
    needs_density: ClassVar[bool] = True
    natural_clip: ClassVar[tuple[float, float]] = FISHER_CLIP
    retraction = "reweight"

    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        meaning = "d_FR: Fisher-Rao distance 2 arccos ∫√(pq), at most π = 3.14"
        return f"d_FR²({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} d_{{\mathrm{{FR}}}}^2({p[1]}, {q[1]})", meaning


@jax.custom_jvp
def half_squared_angle(b: Values) -> Values:
    """d^2/2 of B = -log BC; at 0 by series, since the root has infinite slope there."""
    small = b < SERIES_BELOW
    safe = jnp.where(small, 1.0, b)
    angle = 4 * jnp.arcsin(jnp.sqrt(-jnp.expm1(-safe) / 2))
    return jnp.where(small, b * (4 - b * (4 / 3 - b * (8 / 45))), jnp.square(angle) / 2)


@half_squared_angle.defjvp
def _half_squared_angle_jvp(primals, tangents):
    # JAX differentiates expm1(-B) as expm1(-B) + 1, which has lost exp(-B) at large B in float32
    (b,), (b_dot,) = primals, tangents
    small = b < SERIES_BELOW
    safe = jnp.where(small, 1.0, b)
    angle = 4 * jnp.arcsin(jnp.sqrt(-jnp.expm1(-safe) / 2))
    slope = 2 * angle * jnp.exp(-safe) / jnp.sqrt(-jnp.expm1(-2 * safe))
    slope = jnp.where(small, 4 - b * (8 / 3 - b * (8 / 15)), slope)
    return half_squared_angle(b), slope * b_dot


register("fisher_rao", lambda geometry, p, q: half_squared_angle(bhattacharyya(p, q)))
register_full("fisher_rao", lambda geometry, p, q: half_squared_angle(bhattacharyya_full(p, q)))
