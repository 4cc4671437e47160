"""The Kullback-Leibler divergence between policies, in either direction (BRAC, natural policy gradients)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.geometries.base import AbstractGeometry
from pogospec.geometries.full_gaussians import register_full, whitened
from pogospec.geometries.gaussians import FISHER_CLIP, register
from pogospec.policies.base import FullNormal, below
from pogospec.spec.fields import Within
from pogospec.types import Values

SERIES_BELOW = 0.3


class KL(AbstractGeometry):
    """Kullback-Leibler divergence in nats; 1/tau is BRAC's alpha."""

    kind: ClassVar[str] = "kl"
    needs_density: ClassVar[bool] = True
    natural_clip: ClassVar[tuple[float, float]] = FISHER_CLIP
    retraction = "reweight"

    direction: Annotated[
        Literal["policy_to_reference", "reference_to_policy"],
        "KL(policy || reference), mode-seeking; or KL(reference || policy), mode-covering",
    ] = "policy_to_reference"
    samples: Annotated[
        int, Within(ge=1), "actions of a distribution, of each component of a mixture, where there is no closed form"
    ] = 8
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        (p, q) = (p, q) if self.direction == "policy_to_reference" else (q, p)
        meaning = "KL: Kullback-Leibler divergence in nats, in closed form"
        return f"KL({p[0]} ‖ {q[0]})", rf"\mathrm{{KL}}({p[1]} \,\|\, {q[1]})", meaning


@jax.custom_jvp
def exp_remainder(x: Values) -> Values:
    """exp(x) - 1 - x, which keeps its digits where x is small."""
    safe = jnp.where(jnp.abs(x) < SERIES_BELOW, 1.0, x)
    series = jnp.zeros_like(x)
    for k in range(12, 1, -1):  # x^2/2! + x^3/3! + … + x^12/12!
        series = (series + 1.0) * x / k
    return jnp.where(jnp.abs(x) < SERIES_BELOW, series * x, jnp.expm1(safe) - safe)


@exp_remainder.defjvp
def _exp_remainder_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    return exp_remainder(x), jnp.expm1(x) * x_dot


def kl_normals(p, q) -> Values:
    """KL(p || q) of diagonal Gaussians, summed over dimensions."""
    stds = exp_remainder(2 * (p.log_std - q.log_std))
    means = jnp.square((p.mean - q.mean) * jnp.exp(-q.log_std))
    return ((stds + means) / 2).sum(-1)


def kl_full(p: FullNormal, q: FullNormal) -> Values:
    """KL(p || q) of full Gaussians: with W = L_q^-1 L_p, half of |W|^2 - d - 2 log det W and the whitened gap."""
    means, shape = whitened(p, q)
    stds = exp_remainder(2 * (p.log_diagonal - q.log_diagonal))
    return ((stds + jnp.square(means)).sum(-1) + jnp.square(below(shape)).sum(-1)) / 2


def _directed(between):
    def directed(geometry: KL, p, q):
        return between(p, q) if geometry.direction == "policy_to_reference" else between(q, p)

    return directed


register("kl", _directed(kl_normals))
register_full("kl", _directed(kl_full))
