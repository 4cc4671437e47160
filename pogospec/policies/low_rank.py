"""Gaussians whose covariance is a diagonal and a matrix of low rank, of few numbers and linear cost in many dimensions.

S = D (I + A A^T) D with D the diagonal of exp(log_std) and A the loadings [d, r], in units of it: factor analysis. The
factor of S that makes actions of standard normals is D (I + A A^T)^(1/2), found by a matrix [r, r],

    (I + A A^T)^(1/2) = I + A (I + (I + A^T A)^(1/2))^-1 A^T.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from pogospec.policies.base import FullNormal, below
from pogospec.targets.base import log_volume
from pogospec.types import Actions, Values

Loadings = Float[Array, "*batch act rank"]


class LowRankNormal(NamedTuple):
    """A Gaussian of low rank beside its diagonal: `mean`, `log_std` [..., act], `loadings` [..., act, rank]."""

    mean: Actions
    log_std: Actions
    loadings: Loadings

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        std = jnp.exp(self.log_std)
        return dist.LowRankMultivariateNormal(self.mean, std[..., None] * self.loadings, jnp.square(std))

    def at(self, z: Actions) -> Actions:
        """The action of standard normal z, by the symmetric root of I + A A^T."""
        return self.mean + jnp.exp(self.log_std) * rooted(self.loadings, z)

    def factor(self) -> Float[Array, "*batch act act"]:
        """The factor D (I + A A^T)^(1/2) of the covariance, whole."""
        axes = jnp.eye(self.mean.shape[-1], dtype=self.mean.dtype)
        columns = axes.reshape(-1, *(1,) * (self.mean.ndim - 1), len(axes))
        return jnp.exp(self.log_std)[..., None] * jnp.moveaxis(rooted(self.loadings, columns), 0, -1)

    def whole(self) -> FullNormal:
        """The same Gaussian by its Cholesky factor, of cubic cost."""
        identity = jnp.eye(self.mean.shape[-1], dtype=self.mean.dtype)
        root = jnp.linalg.cholesky(identity + self.loadings @ jnp.swapaxes(self.loadings, -1, -2))
        diagonal = jnp.diagonal(root, axis1=-2, axis2=-1)
        lower = below(jnp.exp(self.log_std)[..., None] * root)
        return FullNormal(self.mean, self.log_std + jnp.log(diagonal), lower)

    def log_volume(self) -> Values:
        """Log |det| of the factor."""
        return self.log_std.sum(-1) + jnp.linalg.slogdet(_inner(self.loadings))[1] / 2


def rooted(loadings: Loadings, z: Actions) -> Actions:
    """(I + A A^T)^(1/2) z of vectors [..., act]."""
    identity = jnp.eye(loadings.shape[-1], dtype=loadings.dtype)
    along = jnp.einsum("...dr,...d->...r", loadings, z)
    inner = jnp.linalg.inv(identity + root(_inner(loadings)))
    return z + jnp.einsum("...dr,...rs,...s->...d", loadings, inner, along)


def _inner(loadings: Loadings) -> Array:
    identity = jnp.eye(loadings.shape[-1], dtype=loadings.dtype)
    return identity + jnp.swapaxes(loadings, -1, -2) @ loadings


@jax.custom_jvp
def root(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The symmetric root of a positive definite matrix, with a derivative where eigenvalues are equal, too."""
    values, axes = jnp.linalg.eigh(matrix)
    return (axes * jnp.sqrt(values)[..., None, :]) @ jnp.swapaxes(axes, -1, -2)


@root.defjvp
def _root_jvp(primals, tangents):
    """X dX + dX X = dM, in the eigenvectors of M."""
    (matrix,), (change,) = primals, tangents
    values, axes = jnp.linalg.eigh(matrix)
    back, stds = jnp.swapaxes(axes, -1, -2), jnp.sqrt(values)
    turned = back @ change @ axes / (stds[..., :, None] + stds[..., None, :])
    return (axes * stds[..., None, :]) @ back, axes @ turned @ back


@log_volume.register
def _(parameters: LowRankNormal, z):
    volume = parameters.log_volume()
    return jnp.broadcast_to(volume, (len(z), *volume.shape))
