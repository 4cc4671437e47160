"""The forward-backward step of Wasserstein, or proximal gradient: explicit in Q, implicit in the entropy.

Salim, Korba and Luise, "The Wasserstein proximal gradient algorithm" (2020); on Gaussians in closed form Diao et al.,
"Forward-backward Gaussian variational inference via JKO in the Bures-Wasserstein space" (2023), algorithm 1. With
g = E[grad Q] and H = E[Hess Q] under the reference N(m, S), tau the length of the step and M = I + tau H,

    m+ = m + tau g,    S' = M S M,    S+ = (S' + 2 tau lambda I + (S' (S' + 4 tau lambda I))^(1/2)) / 2:

the root of an eigenvalue s'^2 of S' becomes (s' + sqrt(s'^2 + 4 tau lambda)) / 2. Of a Gaussian with independent
dimensions the same holds with the diagonal of H. Where M has a negative eigenvalue, the step is longer than the
curvature of Q allows: the map turns a direction over, and exp(Q/lambda)/Z is not where steps come to rest.

How g and H are found, and what sets or follows the Gaussian: `pogospec/steps/closed.py`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from pogospec.policies.base import DiagonalNormal, FullNormal
from pogospec.steps.closed import AbstractCurved, Curvature, triangular
from pogospec.types import Actions


class ForwardBackward(AbstractCurved):
    """Wasserstein proximal gradient: explicit in Q, implicit in the entropy; the next Gaussian in closed form."""

    def curved(self, act_dim: int) -> Curvature:
        """By a plane, unless the spec says otherwise: it needs no second derivatives, which critics have not."""
        return self.curvature or "plane"

    def moved(self, reference: Any, found: tuple[Actions, Any], length: Any, heat: Any) -> Any:
        """The next Gaussian, from g and H L."""
        return _moved(reference, *found, length, length * heat)


def _moved(reference: Any, level: Actions, slopes: Any, length: Any, heat: Any) -> Any:
    """The next Gaussian, from g and the slopes H L; `heat`: tau lambda."""
    mean = reference.mean + length * level
    if isinstance(reference, DiagonalNormal):
        std = jnp.exp(reference.log_std) + length * jnp.diagonal(slopes, axis1=-2, axis2=-1)
        return DiagonalNormal(mean, jnp.log(_backward(std, heat)))
    factor = reference.factor()
    hessian = solve_triangular(factor, jnp.swapaxes(slopes, -1, -2), trans=1, lower=True)
    hessian = (hessian + jnp.swapaxes(hessian, -1, -2)) / 2
    left, stds, _ = jnp.linalg.svd(factor + length * hessian @ factor)
    return FullNormal(mean, *triangular(left * _backward(stds, heat)[..., None, :]))


def _backward(std: Actions, heat: Any) -> Actions:
    """The implicit step of the entropy on stds, which may have turned over; 0 is kept where its logarithm is a number.

    It makes s of |std| with s (s - |std|) = tau lambda.
    """
    std = jnp.abs(std)
    return jnp.maximum((std + jnp.sqrt(jnp.square(std) + 4 * heat)) / 2, jnp.finfo(std.dtype).tiny ** 0.5)
