"""Gaussian policies whose covariance is diagonal but for a part of low rank: mean, log-std and loadings are heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pogospec.nets import MLP, Activation, Init, LayerNorm, mlp
from pogospec.policies.base import AbstractPolicy, LowRankNormal
from pogospec.policies.heads import LogStdBounds, StdMap, bounded, unbounded
from pogospec.spec.fields import Increasing, Within
from pogospec.types import Actions, Key, Observations, Params, Space, Values

SMALL = 1e-3
"""Loadings of a start without correlation: at 0 no gradient would tell which way to go."""


class LowRankGaussianPolicy(AbstractPolicy):
    """Gaussian with a covariance of low rank beside its diagonal; actions are clipped where they are used."""

    parameter_type: ClassVar[type] = LowRankNormal
    has_density: ClassVar[bool] = True

    rank: Annotated[
        int | None, Within(ge=1), "of what correlates the dimensions; default: the root of their number, rounded"
    ] = None
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers"] = (256, 256)
    mean: Annotated[Literal["tanh", "linear"], "squashing of the mean"] = "tanh"
    log_std: Annotated[
        LogStdBounds, Within(ge=-20.0, le=10.0), Increasing(), "bounds of the log-std of each dimension's own part"
    ] = (-5.0, 2.0)
    log_std_map: Annotated[StdMap, "clamp: hard bounds, no gradient outside; tanh: squashed into them"] = "clamp"
    layer_norm: Annotated[LayerNorm, "layer normalisation before or after each activation, or {place: …, eps: …}"] = (
        "none"
    )
    initialization: Annotated[Init, "how weights and biases are drawn"] = "torch"
    activation: Annotated[Activation, "what follows each hidden layer"] = "relu"

    def rank_in(self, act_dim: int) -> int:
        """Columns of the loadings in so many dimensions."""
        return max(1, round(act_dim**0.5)) if self.rank is None else self.rank

    def init(self, key: Key, space: Space) -> Params:
        """A network of mean, log-std and loadings."""
        heads = space.act_dim * (2 + self.rank_in(space.act_dim))
        norm, init = self.layer_norm, self.initialization
        return mlp(key, space.obs_dim, self.hidden, heads, norm, init, activation=self.activation)

    def parameters(self, network: MLP, observations: Observations) -> LowRankNormal:
        """Mean after its squashing, log-std within its bounds, loadings as they are."""
        out = network(observations, self.layer_norm)
        size = self._size(out.shape[-1])
        mean, log_std, loadings = jnp.split(out, (size, 2 * size), axis=-1)
        mean = jnp.tanh(mean) if self.mean == "tanh" else mean
        loadings = loadings.reshape(*mean.shape, self.rank_in(size))
        return LowRankNormal(mean, bounded(log_std, self.log_std, self.log_std_map), loadings)

    def _size(self, heads: int) -> int:
        """Action dimensions of so many outputs."""
        if self.rank is not None:
            return heads // (2 + self.rank)
        return next(size for size in range(1, heads) if size * (2 + self.rank_in(size)) == heads)

    def placed(self, network: MLP, mean: Sequence[float], std: Sequence[float]) -> Params:
        """The network whose Gaussian has these moments and next to no correlation, in every state."""
        size = len(mean)
        waves = np.outer(np.arange(size) + 0.5, np.arange(self.rank_in(size)) % size)
        loadings = jnp.asarray(SMALL * np.cos(np.pi / size * waves) / size**0.5)
        return self.assigned(network, LowRankNormal(jnp.asarray(mean), jnp.log(jnp.asarray(std)), loadings))

    def assigned(self, network: MLP, parameters: LowRankNormal) -> Params:
        """The network that puts out these parameters [act] in every state, as far as its bounds allow."""
        centre = jnp.arctanh(parameters.mean) if self.mean == "tanh" else parameters.mean
        log_std = unbounded(parameters.log_std, self.log_std, self.log_std_map)
        return network.placed(jnp.concatenate([centre, log_std, parameters.loadings.ravel()]))

    def fit_loss(self, parameters: LowRankNormal, actions: Actions, key: Key) -> Values:
        """Negative log-likelihood in nats."""
        return -self.log_likelihood(parameters, actions)

    def mean_action(self, parameters: LowRankNormal) -> Actions:
        """The mean of each row."""
        return parameters.mean

    def sample(self, parameters: LowRankNormal, key: Key) -> Actions:
        """One action a row, not clipped."""
        return self.at_noise(parameters, self.sample_noise(parameters, key))

    def sample_noise(self, parameters: LowRankNormal, key: Key) -> Float[Array, "*batch noise"]:
        """A number for each dimension, and one for each column of the loadings."""
        size, rank = parameters.loadings.shape[-2:]
        return jax.random.normal(key, (*parameters.mean.shape[:-1], size + rank), parameters.mean.dtype)

    def at_noise(self, parameters: LowRankNormal, z: Float[Array, "*batch noise"]) -> Actions:
        """The action of these numbers, by sums and products alone, which files of other formats can hold."""
        own, shared = jnp.split(z, (parameters.mean.shape[-1],), axis=-1)
        along = (parameters.loadings @ shared[..., None])[..., 0]
        return parameters.mean + jnp.exp(parameters.log_std) * (own + along)

    def remarks(self) -> list[tuple[str, str]]:
        """What the covariance is made of, and its bounds."""
        low, high = self.log_std
        rank = "r: the root of the number of dimensions" if self.rank is None else f"r = {self.rank}"
        way = "clamped, no gradient outside" if self.log_std_map == "clamp" else "squashed by tanh"
        return [
            ("covariance", f"diag(σ) (I + A Aᵀ) diag(σ), A of r columns, {rank}"),
            ("log-std", f"log σ in [{low:g}, {high:g}], {way}"),
        ]
