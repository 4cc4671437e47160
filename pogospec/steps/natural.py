"""The natural gradient step of a Gaussian: steepest descent in the Fisher metric, positive definite at any length.

With g = E[grad Q] and H = E[Hess Q] under the reference N(m, S), P = S^-1, G = lambda P + H and tau the length,

    P+ = P - tau G + (tau^2/2) G S G,    m+ = m + tau S+ g.

To first order in tau this is the natural gradient of -E[Q] - lambda H(pi), and so the step of every divergence whose
second derivative is the Fisher metric (kl, fisher_rao, gaussian_fisher_rao); Khan and Rue, "The Bayesian learning rule"
(2023). The term of second order is the retraction of Lin, Schmidt and Khan, "Handling the positive-definite constraint
in the Bayesian learning rule" (2020): with S = L L^T and the symmetric B = I - tau (lambda I + L^T H L)

    P+ = L^-T (I + B^2)/2 L^-1,

which is positive definite for every tau and H, and not below P/2. Steps come to rest where g = 0 and lambda P = -H.
Of a Gaussian with independent dimensions the same holds with the diagonal of H.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from pogospec.policies.base import DiagonalNormal, FullNormal
from pogospec.steps.closed import AbstractClosed, Curvature, factor_of, triangular
from pogospec.types import Actions

MOST_EXACT = 256
"""Dimensions up to which second derivatives are taken where nobody says how."""
GEOMETRIES = ("kl", "fisher_rao", "gaussian_fisher_rao")
"""Kinds of geometries whose second derivative is the Fisher metric."""


class Natural(AbstractClosed):
    """Natural gradient step of a known energy: the next Gaussian in closed form, positive definite at any length."""

    known: ClassVar[bool] = True

    def curved(self, act_dim: int) -> Curvature:
        """By second derivatives, unless the spec says otherwise or there are many dimensions."""
        return self.curvature or ("exact" if act_dim <= MOST_EXACT else "plane")

    def moved(self, reference: Any, level: Actions, slopes: Any, length: Any, heat: Any) -> Any:
        """The next Gaussian, from g and H L."""
        if isinstance(reference, DiagonalNormal):
            bent = jnp.exp(reference.log_std) * jnp.diagonal(slopes, axis1=-2, axis2=-1)
            log_std = reference.log_std - _log_root(1 - length * (heat + bent))
            return DiagonalNormal(reference.mean + length * jnp.exp(2 * log_std) * level, log_std)
        factor = factor_of(reference)
        bent = jnp.swapaxes(factor, -1, -2) @ slopes
        bent = (bent + jnp.swapaxes(bent, -1, -2)) / 2
        values, axes = jnp.linalg.eigh(bent)
        root = factor @ (axes * jnp.exp(-_log_root(1 - length * (heat + values)))[..., None, :])
        mean = reference.mean + length * (root @ (jnp.swapaxes(root, -1, -2) @ level[..., None]))[..., 0]
        return FullNormal(mean, *triangular(root))


def _log_root(b: Actions) -> Actions:
    """Log of ((1 + b^2)/2)^(1/2), without overflow."""
    return jnp.logaddexp(jnp.zeros_like(b), 2 * jnp.log(jnp.abs(b))) / 2 - jnp.log(2.0) / 2
