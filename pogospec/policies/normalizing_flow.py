"""Normalising flows: an invertible map of noise to actions for each state, with an exact density of any shape."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.geometries.base import Formula, Seen, estimate
from pogospec.nets import Activation, Init, LayerNorm, Linear, ensemble
from pogospec.policies.base import AbstractPolicy, DiagonalNormal, FullNormal, normals
from pogospec.policies.heads import LogStdBounds, StdMap, bounded, init_heads, placed_heads, split_heads, unbounded
from pogospec.policies.invertible import Flow, Invertible, log_normal, places
from pogospec.policies.maps import epsilon
from pogospec.policies.splines import numbers_of
from pogospec.spec.fields import Increasing, Within
from pogospec.targets.base import log_volume
from pogospec.types import Actions, Key, Observations, Space, Values

SMALL = 0.01
"""Factor of the weights of last layers as they are drawn, so that the map begins near its affine end."""


class NormalizingFlowPolicy(AbstractPolicy):
    """Coupling layers of splines and an affine end; actions are clipped to the bounds where they are used."""

    parameter_type: ClassVar[type] = Invertible
    has_density: ClassVar[bool] = True
    looks: ClassVar[tuple[str, ...]] = ("mean", "sample")

    layers: Annotated[int, Within(ge=1, le=64), "coupling layers; two move each dimension once"] = 4
    knots: Annotated[int, Within(ge=1, le=128), "inner knots of the spline of a dimension"] = 8
    interval: Annotated[
        int, Within(ge=1, le=100), "splines bend in ±interval, in units of exp(log_std) about the location"
    ] = 5
    conditioner: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers of each coupling layer"] = (
        *(64, 64),
    )
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers of location and log-std"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the location"] = "tanh"
    log_std: Annotated[
        LogStdBounds, Within(ge=-20.0, le=10.0), Increasing(), "bounds of the log-std of the affine end"
    ] = (-5.0, 2.0)
    log_std_map: Annotated[StdMap, "clamp: hard bounds, no gradient outside; tanh: squashed into them"] = "clamp"
    entropy_samples: Annotated[int, Within(ge=1), "samples for the entropy"] = 4
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def init(self, key: Key, space: Space) -> Flow:
        """Networks of a map near the affine one."""
        head_key, key = jax.random.split(key)
        norm, init = self.layer_norm, self.initialization
        head: Any = init_heads(head_key, space, self.hidden, "state", norm, init, self.activation)
        inputs, outputs = space.obs_dim + space.act_dim, numbers_of(self.knots) * places(space.act_dim)
        layers = ensemble(key, self.layers, inputs, self.conditioner, outputs, norm, init, activation=self.activation)
        last = layers.layers[-1]
        return Flow(head, layers.ending(Linear(SMALL * last.weight, SMALL * last.bias, last.rounded)))

    def parameters(self, network: Flow, observations: Observations) -> Invertible:
        """The map at each row, its location after its squashing and its log-std within its bounds."""
        location, log_std = split_heads(network.head, observations, self.layer_norm)
        location = jnp.tanh(location) if self.mean == "tanh" else location
        log_std, eps = bounded(log_std, self.log_std, self.log_std_map), epsilon(self.layer_norm)
        return Invertible(network.layers, observations, eps, location, log_std, self.knots, self.interval)

    def placed(self, network: Flow, mean: Sequence[float], std: Sequence[float]) -> Flow:
        """The affine map, whose law is the Gaussian with these moments, in every state."""
        centre = jnp.arctanh(jnp.asarray(mean)) if self.mean == "tanh" else jnp.asarray(mean)
        log_std = unbounded(jnp.log(jnp.asarray(std)), self.log_std, self.log_std_map)
        layers = network.layers.placed(jnp.zeros_like(network.layers.layers[-1].bias))
        head: Any = placed_heads(network.head, centre, log_std)
        return Flow(head, layers)

    def fit_loss(self, parameters: Invertible, actions: Actions, key: Key) -> Values:
        """Negative log-likelihood in nats."""
        return -self.log_likelihood(parameters, actions)

    def log_likelihood(self, parameters: Invertible, actions: Actions) -> Values:
        """Log density in nats."""
        return parameters.log_density(actions)

    def scored(self, parameters: Invertible, key: Key, count: int) -> tuple[Float[Array, "count *batch act"], Values]:
        """Samples and their log densities, by the volume on the way there: nothing is inverted."""
        return _drawn(parameters, normals(parameters, count, key))

    def entropy(self, parameters: Invertible, key: Key) -> Values:
        """Entropy in nats: that of the noise, and the mean log volume of the map at samples."""
        z = normals(parameters, self.entropy_samples, key)
        noise = z.shape[-1] * 0.5 * jnp.log(2 * jnp.pi * jnp.e)
        return noise + parameters.with_volume(z)[1].mean(0)

    def remarks(self) -> list[tuple[str, str]]:
        """What the map is, and what samples can tell."""
        low, high = self.log_std
        count = self.entropy_samples
        return [
            (
                "flow",
                f"a = location + exp(log σ) T(z), z ~ N(0, I), log σ in [{low:g}, {high:g}]; T: {self.layers} coupling "
                f"layers of splines with {self.knots} inner knots in ±{self.interval}, straight outside; it begins "
                "near the identity",
            ),
            ("mean action", "the image of z = 0, which is the mean where T is the identity"),
            ("density", "exact, by the inverse of T and its volume"),
            ("entropy", f"that of z exactly, the volume of T by {count} sample{'s' * (count > 1)}"),
        ]

    def mean_action(self, parameters: Invertible) -> Actions:
        """The image of z = 0."""
        return parameters.at(parameters.noise)


def _log_density(parameters: Any, actions: Actions) -> Values:
    if isinstance(parameters, Invertible):
        return parameters.log_density(actions)
    return parameters.distribution().log_prob(actions)


def _drawn(parameters: Any, z: Actions) -> tuple[Actions, Values]:
    """Actions at standard normal z, and their log densities."""
    if not isinstance(parameters, Invertible):
        actions = parameters.at(z)
        return actions, _log_density(parameters, actions)
    actions, volume = parameters.with_volume(z)
    return actions, log_normal(z) - volume


def _kl(geometry: Any, p: Any, q: Any, seen: Seen) -> Values:
    """KL of the geometry's direction, by samples of its first distribution."""
    p, q = (p, q) if geometry.direction == "policy_to_reference" else (q, p)
    actions, density = _drawn(p, normals(p, geometry.samples, seen.key))
    return (density - _log_density(q, actions)).mean(0)


def _kl_written(geometry: Any, formula: Formula) -> Formula:
    text, latex, meaning = formula
    return text, latex, meaning.replace("in closed form", f"by {geometry.samples} samples of the first distribution")


for _pair in itertools.product((Invertible, DiagonalNormal, FullNormal), repeat=2):
    if Invertible in _pair:
        estimate("kl", *_pair, written=_kl_written)(_kl)


@log_volume.register
def _(parameters: Invertible, z):
    """In closed form."""
    rows = z.reshape(len(z), *(1,) * (parameters.location.ndim - 1), z.shape[-1])
    return parameters.with_volume(rows)[1]
