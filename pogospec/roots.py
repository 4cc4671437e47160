"""Roots of positive definite matrices, with derivatives everywhere; of an identity and a matrix of low rank cheaply."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def rooted(loadings: Float[Array, "*batch act rank"], z: Float[Array, "*more act"]) -> Float[Array, "*more act"]:
    """(I + A A^T)^(1/2) z of vectors [..., act], by a matrix of their rank: I + A (I + (I + A^T A)^(1/2))^-1 A^T."""
    identity = jnp.eye(loadings.shape[-1], dtype=loadings.dtype)
    along = jnp.einsum("...dr,...d->...r", loadings, z)
    inner = jnp.linalg.inv(identity + root(plus_one(loadings)))
    return z + jnp.einsum("...dr,...rs,...s->...d", loadings, inner, along)


def plus_one(loadings: Float[Array, "*batch act rank"]) -> Float[Array, "*batch rank rank"]:
    """I + A^T A."""
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
