"""The natural gradient step of a Gaussian: steepest descent in the Fisher metric, positive definite at any length.

With g = E[grad Q] and H = E[Hess Q] under the reference N(m, S), P = S^-1 and tau the length,

    P+ = (1 - tau lambda) P - tau H,    m+ = m + tau S+ g.

To first order in tau this is the natural gradient of -E[Q] - lambda H(pi), and so the step of every divergence whose
second derivative is the Fisher metric (kl, fisher_rao, gaussian_fisher_rao); Khan and Rue, "The Bayesian learning rule"
(2023). Lin, Schmidt and Khan, "Handling the positive-definite constraint in the Bayesian learning rule" (2020), add a
term of second order for the sake of positive definiteness; here the step is left as it is where it at least halves no
precision, and bent elsewhere: with S = L L^T and the eigenvalues w of L^T H L

    P+ = L^-T V f(-tau (lambda + w)) V^T L^-1,    f(x) = 1 + x for x >= -1/2, (1 + exp(4 x + 2))/4 below,

so that P+ > P/4 for every tau and H, and P+ < 1e6 P: what a few points say of more is not to be trusted, and takes many
steps to be undone. Steps come to rest where g = 0 and lambda P = -H.

Of a Gaussian with independent dimensions the precision takes the diagonal of H. Its mean moves by the S+ that a full
Gaussian would have there, m+ = m + tau ((1 - tau lambda) P - tau H)^-1 g, by absolute values of the two parts: with the
diagonal alone, correlated dimensions would each correct the same gap, and swing.

A step that raises the energy at its own points by more than a nat (times lambda) is not taken: its length is quartered
until it does not, from the seventh time on divided by 256, and if all lengths do the Gaussian stays. Near the end no
step does; far from it g and H at a few points may tell nothing of where they lead. On data g and H are those of the
critic in each state, and the divergence of the network from the next Gaussian is minimised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from pogospec.policies.base import DiagonalNormal, FullNormal
from pogospec.steps.closed import AbstractCurved, Curvature, factor_of, shortened, triangular
from pogospec.steps.points import Points, Rotated
from pogospec.types import Actions, Values

GEOMETRIES = ("kl", "fisher_rao", "gaussian_fisher_rao")
"""Kinds of geometries whose second derivative is the Fisher metric."""
MOST_EXACT = 256
"""Dimensions up to which second derivatives are taken at points that the spec names."""
STIFFEST = 1e6
"""Factor by which a precision rises in one step at most; the mean moves as if it rose in full."""
LEAST = 1e-9
"""Curvature, relative to the precision, below which a direction counts as flat."""


class Natural(AbstractCurved):
    """Natural gradient step: the next Gaussian in closed form, positive definite at any length."""

    def curved(self, act_dim: int) -> Curvature:
        """By the plane, unless the spec says otherwise or names points that may be too few for one."""
        own = self.actions is not None and not isinstance(self.actions, Rotated)
        return self.curvature or ("exact" if own and act_dim <= MOST_EXACT else "plane")

    def points(self, act_dim: int) -> Points:
        """Where the reference is looked at: a plane wants one rotation."""
        plane = self.actions is None and self.curved(act_dim) == "plane"
        return Rotated(1) if plane else super().points(act_dim)

    def moved(self, reference: Any, found: tuple[Actions, Any], length: Any, heat: Any) -> Any:
        """The next Gaussian, from g and H L; `length` [..., 1], that of each row."""
        level, slopes = found
        if isinstance(reference, DiagonalNormal):
            std = jnp.exp(reference.log_std)
            values, axes = _bends(std[..., None] * slopes)
            stiff = jnp.abs(1 - length * heat) + length * jnp.abs(values)
            shift = jnp.swapaxes(axes, -1, -2) @ (std * level)[..., None]
            shift = (axes @ (shift / jnp.maximum(stiff, LEAST)[..., None]))[..., 0]
            own = std * jnp.diagonal(slopes, axis1=-2, axis2=-1)
            log_std = reference.log_std - jnp.log(jnp.minimum(_bent(-length * (heat + own)), STIFFEST)) / 2
            return DiagonalNormal(reference.mean + length * std * shift, log_std)
        factor = factor_of(reference)
        values, axes = _bends(jnp.swapaxes(factor, -1, -2) @ slopes)
        axes, stiffer = factor @ axes, _bent(-length * (heat + values))[..., None, :]
        mean = reference.mean + length * ((axes / stiffer) @ (jnp.swapaxes(axes, -1, -2) @ level[..., None]))[..., 0]
        return FullNormal(mean, *triangular(axes / jnp.sqrt(jnp.minimum(stiffer, STIFFEST))))

    def taken(
        self, move: Callable[[Any], Any], length: Any, rise: Callable[[Any], Values], heat: Any, reference: Any
    ) -> Any:
        """The Gaussian of the longest of length, length/4, ... that raises the energy by no more than a nat, if any."""
        return shortened(move, length, rise, heat, reference)


def _bends(matrix: Any) -> tuple[Any, Any]:
    """Eigenvalues and axes of the symmetric part."""
    return jnp.linalg.eigh((matrix + jnp.swapaxes(matrix, -1, -2)) / 2)


def _bent(x: Actions) -> Actions:
    """1 + x where it is at least 1/2; below a continuation of the same slope that stays above 1/4."""
    return jnp.where(x >= -0.5, 1 + x, (1 + jnp.exp(4 * jnp.minimum(x, -0.5) + 2)) / 4)
