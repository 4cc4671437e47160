"""What several geometries of diagonal Gaussians share: the affinity and the Fisher metric.

Both are the same for tanh-squashed Gaussians in their pre-squash parameters, since a common bijection of the
actions changes neither; so every density geometry is registered for both families at once.
"""

from __future__ import annotations

import jax.numpy as jnp

from pogospec.geometries.base import divergence, inverse_metric
from pogospec.policies.base import DiagonalNormal, TanhNormal
from pogospec.types import Values

FISHER_CLIP = (1e-6, 1e2)
"""Default bounds of the factor s^2 of the Fisher metric, as released with POGO."""


def register(kind: str, function) -> None:
    """Register a divergence of a density geometry, and the Fisher metric, for both Gaussian families."""
    for family in (DiagonalNormal, TanhNormal):
        divergence(kind, family, family)(function)
        inverse_metric(kind, family)(_inverse_fisher)


def _inverse_fisher(geometry, p, clip):
    """The Fisher metric is diag(1/s^2, 2) in (mean, log std)."""
    return type(p)(jnp.clip(jnp.exp(2 * p.log_std), *clip), jnp.full_like(p.log_std, 0.5))


def bhattacharyya(p, q) -> Values:
    """-log of the affinity, summed over dimensions; from log-stds, so that small gaps keep their digits."""
    gap = p.log_std - q.log_std
    middle = jnp.exp(-(p.log_std + q.log_std) / 2)
    # s1^2 + s2^2 = 2 s1 s2 cosh(r1 - r2)
    means = jnp.square((p.mean - q.mean) * middle) / (8 * jnp.cosh(gap))
    stds = 0.5 * jnp.log1p(2 * jnp.square(jnp.sinh(gap / 2)))
    return (means + stds).sum(-1)
