"""Maps of noise to actions as parameter types: a network and what it observes."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.nets import LayerNorm, Normalized
from pogospec.types import Actions, Observations, Scalar


class AbstractMap(eqx.Module):
    """A network and the observations [*batch, obs] of its rows; `eps`: of its layer normalisation.

    Where networks are stacked, as by a `vmap` over seeds, all arrays have these leading dimensions, `eps` those alone.
    """

    network: Any  # an MLP, or several
    observations: Observations
    eps: Scalar

    @property
    @abc.abstractmethod
    def noise(self) -> Float[Array, "*batch noise"]:
        """Something of the shape and the type of the standard normals that `at` takes in a row."""

    @abc.abstractmethod
    def _actions(self, z: Float[Array, "*more noise"]) -> Actions:
        """Actions of one network at z [..., *batch, noise]."""

    def at(self, z: Float[Array, "*more noise"]) -> Actions:
        """Actions at standard normal z [..., *batch, noise]."""
        if not self.eps.ndim:
            return self._actions(z)
        axis = z.ndim - self.observations.ndim
        return jax.vmap(lambda one, z: one.at(z), (0, axis), axis)(self, z)

    def row(self, index: int) -> Any:
        """The same map at one row."""
        return eqx.tree_at(lambda one: one.observations, self, self.observations[index])

    def put_out(self, *inputs: Array) -> Array:
        """What the network gives of observations and further inputs [..., *batch, n]."""
        shape = jnp.broadcast_shapes(self.observations.shape[:-1], *(part.shape[:-1] for part in inputs))
        parts = [jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in (self.observations, *inputs)]
        rows = jnp.concatenate(parts, -1)
        out = self.network(rows.reshape(-1, rows.shape[-1]), Normalized("after", self.eps))  # type: ignore[arg-type]
        return out.reshape(*shape, out.shape[-1])  # matrix products of two dimensions are faster


def epsilon(layer_norm: LayerNorm) -> Scalar:
    """The epsilon of a layer normalisation as an array."""
    return jnp.asarray(layer_norm.eps if isinstance(layer_norm, Normalized) else 1e-5, float)
