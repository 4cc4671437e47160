"""The forward-backward step of Wasserstein, or proximal gradient: explicit in Q, implicit in the entropy.

Salim, Korba and Luise, "The Wasserstein proximal gradient algorithm" (2020); on Gaussians in closed form Diao et al.,
"Forward-backward Gaussian variational inference via JKO in the Bures-Wasserstein space" (2023), algorithm 1. With
g = E[grad Q] and H = E[Hess Q] under the reference N(m, S), tau the length of the step and M = I + tau H,

    m+ = m + tau g,    S' = M S M,    S+ = (S' + 2 tau lambda I + (S' (S' + 4 tau lambda I))^(1/2)) / 2:

the root of an eigenvalue s'^2 of S' becomes (s' + sqrt(s'^2 + 4 tau lambda)) / 2. Of a Gaussian with independent
dimensions the same holds with the diagonal of H. Where M has a negative eigenvalue, the step is longer than the
curvature of Q allows: the map turns a direction over, and exp(Q/lambda)/Z is not where steps come to rest.

g and H are those of the plane nearest to grad Q at m + L z, S = L L^T: grad Q is about g + H (a - m), by least squares
over points z of more than d. That is Stein's identity H = E[grad Q z^T] L^-1 with the noise of what is linear taken
away: it asks for first derivatives of Q alone, sees the bends of a critic of ReLUs, whose second derivatives are 0
almost everywhere, and is exact for quadratic Q at any points. Of another Q it is off by about 1/n at n samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, cast

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from pogospec.energies.base import Context
from pogospec.policies.base import DiagonalNormal, FullNormal, Sample, below
from pogospec.steps.base import AbstractScheme, Problem, divergences, slope_of
from pogospec.steps.points import Hermite, count_of, noise_at, too_many
from pogospec.types import Actions, Key, Params, Values

GAUSSIANS = (DiagonalNormal, FullNormal)
"""Parameter types on which the step has a closed form."""


class ForwardBackward(AbstractScheme):
    """Wasserstein proximal gradient: explicit in Q, implicit in the entropy; the next Gaussian in closed form."""

    at_reference: ClassVar[bool] = True

    actions: Annotated[
        Sample | Hermite | None,
        "points of the reference in each state: {sample: n}, more than d, or a grid {hermite: n} of n^d nodes; "
        "default: 16 samples, 2 d + 2 where that is more",
    ] = None

    def points(self, act_dim: int) -> Sample | Hermite:
        """Where the reference is looked at."""
        return Sample(max(16, 2 * act_dim + 2)) if self.actions is None else self.actions

    def count(self, act_dim: int) -> int:
        """Points in a state."""
        return count_of(self.points(act_dim), act_dim)

    def too_large(self, act_dim: int) -> str | None:
        """Why a grid is larger than memory should hold, or samples are too few for a plane."""
        points = self.points(act_dim)
        if isinstance(points, Sample) and points.sample <= act_dim:
            plane = f"which leave the curvature of Q open; allowed {act_dim + 1} or more"
            return f"found {points.sample} samples in {act_dim} dimensions, {plane}"
        return too_many(points, act_dim)

    def gradient(
        self,
        problem: Problem,
        parameters: Callable[[Params], Any],
        network: Params,
        references: tuple[Any, ...],
        context: Context,
        key: Key,
    ) -> tuple[Params, dict]:
        """Gradient through the heads, where a natural gradient acts, into the network."""
        heads, pull_back = jax.vjp(parameters, network)
        (term,), (reference,) = problem.proximal, references
        target, geometry = self.target(problem, reference, context, key), cast(Any, term.geometry)
        whole = geometry.speed(target.mean.shape[-1])  # of the sum over dimensions beside their mean
        loss = lambda heads: whole * geometry.unweighted(heads, target, None).mean()  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(heads)
        gradient = problem.gradient.precondition(problem.proximal, heads, gradient)
        distance = divergences(problem, heads, references, context, key)[0].mean()
        return pull_back(gradient)[0], {"objective": value, "distance": distance}

    def target(self, problem: Problem, reference: Any, context: Context, key: Key) -> Any:
        """The Gaussian of each row at which the step ends; of the type of the reference, without gradient."""
        (term,) = problem.proximal
        geometry: Any = term.geometry
        size = reference.mean.shape[-1]
        z, shares = noise_at(self.points(size), reference, key)
        forward = problem._replace(energy={n: t for n, t in problem.energy.items() if not t.entropic})
        velocity = -slope_of(forward, reference, reference.at(z), context)
        level, slopes = plane(velocity, z, shares)
        length = term.tau / geometry.weight * geometry.speed(size)
        heat = length * sum((t.weight for t in problem.energy.values() if t.entropic), 0.0)
        return jax.lax.stop_gradient(_moved(reference, level, slopes, length, heat))


def plane(values: Actions, z: Actions, shares: Values) -> tuple[Actions, Any]:
    """Level [..., d] at z = 0 and slopes [..., d, d] of the plane nearest to values [n, ..., d] at points z alike."""
    weights = shares.reshape(-1, *(1,) * (z.ndim - 1))
    middle, mean = (weights * z).sum(0), (weights * values).sum(0)
    centred = z - middle
    spread = jnp.einsum("n,n...i,n...j->...ij", shares, centred, centred)
    products = jnp.einsum("n,n...i,n...j->...ij", shares, values - mean, centred)
    slopes = products @ jnp.linalg.pinv(spread, rtol=1e-4, hermitian=True)
    return mean - (slopes @ middle[..., None])[..., 0], slopes


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
    upper = jnp.linalg.qr(_backward(stds, heat)[..., None] * jnp.swapaxes(left, -1, -2), mode="r")
    diagonal = jnp.diagonal(upper, axis1=-2, axis2=-1)
    lower = jnp.swapaxes(jnp.where(diagonal < 0, -1.0, 1.0)[..., None] * upper, -1, -2)
    return FullNormal(mean, jnp.log(jnp.abs(diagonal)), below(lower))


def _backward(std: Actions, heat: Any) -> Actions:
    """The implicit step of the entropy on stds, which may have turned over; 0 is kept where its logarithm is a number.

    It makes s of |std| with s (s - |std|) = tau lambda.
    """
    std = jnp.abs(std)
    return jnp.maximum((std + jnp.sqrt(jnp.square(std) + 4 * heat)) / 2, jnp.finfo(std.dtype).tiny ** 0.5)
