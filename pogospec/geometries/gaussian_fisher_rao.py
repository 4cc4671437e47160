"""The Rao distance: geodesics of the Fisher metric inside the Gaussian family; D = d^2 / 2, unbounded.

One dimension: d = sqrt(2) arccosh(1 + x) = 2 sqrt(2) asinh(sqrt(x / 2)) with
x = ((m1 - m2)^2 / 2 + (s1 - s2)^2) / (2 s1 s2); the squares add up over dimensions (Atkinson and Mitchell 1981).
Full covariances: see `full_rao`. The diagonal Gaussians are not totally geodesic among them: where several means
differ, the same two Gaussians are nearer as members of the full family.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from pogospec.geometries.base import AbstractGeometry
from pogospec.geometries.full_gaussians import register_full
from pogospec.geometries.full_rao import half_squared_rao_full
from pogospec.geometries.gaussians import FISHER_CLIP, register
from pogospec.spec.fields import Within
from pogospec.types import Values

SERIES_BELOW = 1e-3


class GaussianFisherRao(AbstractGeometry):
    """Half the squared Rao distance of the Gaussian manifold; unbounded, so that it never saturates."""

    kind: ClassVar[str] = "gaussian_fisher_rao"
    needs_density: ClassVar[bool] = True
    natural_clip: ClassVar[tuple[float, float]] = FISHER_CLIP

    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        meaning = "d_R: Rao distance, the Fisher metric's geodesic inside the Gaussians, unbounded"
        return f"d_R²({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} d_{{\mathrm{{R}}}}^2({p[1]}, {q[1]})", meaning


@jax.custom_jvp
def half_squared_rao(x: Values) -> Values:
    """4 asinh^2(sqrt(x / 2)); at 0 by series, since the root has infinite slope there."""
    small = x < SERIES_BELOW
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, x * (2 - x * (1 / 3 - x * (4 / 45))), 4 * jnp.square(jnp.arcsinh(jnp.sqrt(safe / 2))))


@half_squared_rao.defjvp
def _half_squared_rao_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    small = x < SERIES_BELOW
    root = jnp.sqrt(jnp.where(small, 1.0, x) / 2)
    slope = 2 * jnp.arcsinh(root) / (root * jnp.sqrt(1 + jnp.square(root)))
    return half_squared_rao(x), jnp.where(small, 2 - x * (2 / 3 - x * (4 / 15)), slope) * x_dot


def _normals(geometry: GaussianFisherRao, p, q):
    means = jnp.square((p.mean - q.mean) * jnp.exp(-(p.log_std + q.log_std) / 2)) / 4
    stds = 2 * jnp.square(jnp.sinh((p.log_std - q.log_std) / 2))
    return half_squared_rao(means + stds).sum(-1)


register("gaussian_fisher_rao", _normals)
register_full("gaussian_fisher_rao", lambda geometry, p, q: half_squared_rao_full(p, q))
