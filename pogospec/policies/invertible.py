"""Invertible maps of noise to actions as a parameter type: coupling layers of splines, and an affine end.

x goes from standard normal z through layers, in each of which some dimensions, given the others and the state, pass
through a monotone rational-quadratic spline (Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", 2019); then
a = location + exp(log_std) x. Both directions and the volume are in closed form, so that the density is exact:
log pi(a) = log N(z) - log |det da/dz|.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions.util import validate_sample

from pogospec.nets import MLP, Normalized
from pogospec.policies.maps import AbstractMap
from pogospec.policies.splines import spline
from pogospec.types import Actions, Key, Values


class Flow(NamedTuple):
    """A network of location and log-std, and those of the parameters of splines, stacked layer by layer."""

    head: MLP
    layers: MLP


def moved(layers: int, size: int) -> np.ndarray:
    """Which dimensions each layer moves [layers, act]; two layers in a row move each dimension once.

    Every pair of layers has its own halves, those of the first pair in the order of the dimensions.
    """
    found = np.ones((layers, size), bool)
    for number in range(layers if size > 1 else 0):
        order = np.random.default_rng(number // 2).permutation(size) if number > 1 else np.arange(size)
        half = order[: size // 2] if number % 2 == 0 else order[size // 2 :]
        found[number, half] = False
    return found


def places(size: int) -> int:
    """How many dimensions a layer moves at most."""
    return max(1, size - size // 2)


def chosen(layers: int, size: int) -> np.ndarray:
    """Ones where a place of a layer holds a dimension that it moves, [layers, places, act]; a place may stay empty."""
    found = np.zeros((layers, places(size), size))
    for layer, moves in zip(found, moved(layers, size), strict=True):
        layer[np.arange(moves.sum()), np.flatnonzero(moves)] = 1
    return found


def log_normal(z: Actions) -> Values:
    """Log density in nats of standard normal z."""
    return -(jnp.square(z) / 2 + 0.5 * math.log(2 * math.pi)).sum(-1)


class Invertible(AbstractMap):
    """The law of an invertible map of standard normal z; `location`, `log_std` [*batch, act] of its affine end.

    `network` is that of all layers, stacked.
    """

    location: Actions
    log_std: Actions
    knots: int = eqx.field(static=True)
    interval: int = eqx.field(static=True)

    @property
    def noise(self) -> Float[Array, "*batch act"]:
        """As many as action dimensions."""
        return jnp.zeros_like(self.location)

    def row(self, index: int) -> Invertible:
        """The same map at one row."""
        parts = lambda one: (one.observations, one.location, one.log_std)  # noqa: E731
        return eqx.tree_at(parts, self, tuple(part[index] for part in parts(self)))

    def distribution(self) -> dist.Distribution:
        """The NumPyro distribution over actions."""
        return InvertibleDistribution(self)

    def _actions(self, z: Actions) -> Actions:
        return self._forward(z)[0]

    def with_volume(self, z: Actions) -> tuple[Actions, Values]:
        """Actions at standard normal z [..., *batch, act], and log |det da/dz| there."""
        return self._each(Invertible._forward, z)

    def log_density(self, actions: Actions) -> Values:
        """Log density in nats at actions [..., act], with more leading dimensions than the parameters or as many."""
        z, volume = self._each(Invertible._backward, actions)
        return log_normal(z) - volume

    def _each(self, method: Callable[..., Any], x: Actions) -> Any:
        """A method of one network, or of each of several that are stacked."""
        if not self.eps.ndim:
            return method(self, x)
        x = jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, self.location.shape))
        axis = x.ndim - self.location.ndim
        return jax.vmap(lambda one, x: one._each(method, x), (0, axis), axis)(self, x)

    def _forward(self, z: Actions) -> tuple[Actions, Values]:
        x, volume = self._through(z, backward=False)
        return self.location + jnp.exp(self.log_std) * x, self.log_std.sum(-1) + volume

    def _backward(self, actions: Actions) -> tuple[Actions, Values]:
        x, volume = self._through((actions - self.location) * jnp.exp(-self.log_std), backward=True)
        return x, self.log_std.sum(-1) - volume

    def _through(self, x: Actions, *, backward: bool) -> tuple[Actions, Values]:
        """What becomes of x in all layers, one program for all of them, and the log of the change of volume."""
        shape = jnp.broadcast_shapes(x.shape, self.location.shape)
        x = jnp.broadcast_to(x, shape).reshape(-1, shape[-1]).T
        rows = jnp.broadcast_to(self.observations, (*shape[:-1], self.observations.shape[-1]))
        rows = rows.reshape(x.shape[-1], rows.shape[-1])
        eps: Any = self.eps

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def layer(x, given):
            network, places = given
            moves = places.any(0)[:, None]
            seen = jnp.concatenate([rows, jnp.where(moves, 0.0, x).T], -1)
            numbers = network(seen, Normalized("after", eps)).T.reshape(-1, len(places), x.shape[-1]).astype(x.dtype)
            taken = jnp.matmul(places, x, precision="highest")
            made: Any = spline(numbers, taken, self.interval, backward)
            found, change = made
            x = jnp.where(moves, jnp.matmul(places.T, found, precision="highest"), x)
            return x, (places.any(1)[:, None] * change).sum(0)

        held = jnp.asarray(chosen(len(self.network.layers[-1].bias), len(x)), x.dtype)
        x, changes = jax.lax.scan(layer, x, (self.network, held), reverse=backward)
        return x.T.reshape(shape), changes.sum(0).reshape(shape[:-1])


class InvertibleDistribution(dist.Distribution):
    """The law of an invertible map."""

    arg_constraints: ClassVar[dict] = {}
    support: Any = dist.constraints.real_vector

    def __init__(self, parameters: Invertible, *, validate_args: bool | None = None):
        self.parameters = parameters
        shape = parameters.location.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def sample(self, key: Key | None, sample_shape: tuple[int, ...] = ()) -> Any:
        """Actions [*sample_shape, ..., act]."""
        assert key is not None
        like = self.parameters.noise
        return self.parameters.at(jax.random.normal(key, (*sample_shape, *like.shape), like.dtype))

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Log density in nats."""
        return self.parameters.log_density(value)
