"""A saved policy is whole: family, networks, normaliser and action bounds travel together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from pogospec.spec.build import build_node, to_plain
from pogospec.types import Normalizer, Params, Space


class SavedPolicy(NamedTuple):
    """Policies of all seeds; every network leaf has a leading seed dimension."""

    family: Any
    network: Params
    normalizer: Normalizer
    space: Space

    @property
    def double(self) -> bool:
        """Whether the networks were trained in double precision, in which they act too."""
        return any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(self.network))

    def after(self, moves: int) -> SavedPolicy:
        """The same particles with so many moves before one acts; a policy of any other family as it is."""
        if not self.family.borrows:
            return self
        particles = dataclasses.replace(self.family.particles, moves=moves)
        return self._replace(family=dataclasses.replace(self.family, particles=particles))

    def only(self, seed: int) -> SavedPolicy:
        """That of one seed alone."""
        return self._replace(network=jax.tree.map(lambda leaf: leaf[seed : seed + 1], self.network))

    def in_double(self) -> SavedPolicy:
        """The same numbers, computed with in double precision."""
        with jax.enable_x64(True):
            network = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.float64), self.network)
        return self._replace(network=network)

    def batched(self, action: str = "mean", seed: int = 0) -> Callable:
        """A function (observations [seeds, batch, obs], t) -> environment actions [seeds, batch, act]."""
        root, fixed = jax.random.key(seed), (self.family, action, self.space)

        def in_precision(observations, t):
            observations = self.normalised(observations)
            with jax.enable_x64(self.double):
                return np.asarray(_act(*fixed, self.network, observations, root, t))

        return in_precision

    def sampled(self, observations: np.ndarray, key: Any) -> np.ndarray:
        """Environment actions [seeds, batch, act] at observations [seeds, batch, obs], drawn with a key."""
        observations = self.normalised(observations)
        with jax.enable_x64(self.double):
            return np.asarray(_act(self.family, "sample", self.space, self.network, observations, key, 0))

    def pure(self, action: str) -> tuple[Callable, np.dtype, jax.ShapeDtypeStruct]:
        """The first seed as a pure function of raw observations [batch, obs], their type, and the noise of a sample.

        A function (observations) -> environment actions [batch, act] for the mean action, that of a batch of one in
        each row; a function (observations, noise) for samples, of standard normal noise [batch, *shape]. The shape and
        the type of a row's noise come third. Trace it where double precision is allowed where the type asks for it.
        """
        network = jax.tree.map(lambda leaf: np.asarray(leaf[0]), self.network)
        mean, scale = (np.asarray(part) for part in self.normalizer)
        kind = np.dtype(np.float64 if self.double or mean.dtype == np.float64 else np.float32)

        def inner(rows, *noise):
            parameters = self.family.parameters(network, rows)
            found = self.family.at_noise(parameters, *noise) if noise else self.family.alone(parameters)
            return _in_bounds(found, self.space)

        def act(observations, *noise):
            rows = (observations - mean.astype(kind)) / scale.astype(kind)
            rows = rows.astype(np.float64 if self.double else np.float32)
            if kind == np.float64 and not self.double:
                with jax.enable_x64(False):
                    traced = jax.make_jaxpr(inner)(*map(_shape, (rows, *noise)))
                return core.jaxpr_as_fun(traced)(rows, *noise)[0]
            return inner(rows, *noise)

        with jax.enable_x64(self.double):
            row = jax.ShapeDtypeStruct((1, self.space.obs_dim), np.float64 if self.double else np.float32)
            drawn = lambda rows: self.family.sample_noise(self.family.parameters(network, rows), jax.random.key(0))  # noqa: E731
            drawn = jax.eval_shape(drawn, row)
        return act, kind, jax.ShapeDtypeStruct(drawn.shape[1:], drawn.dtype)

    def noise(self, observations: Any, seed: int, t: int) -> np.ndarray:
        """The noise [seeds, batch, *shape] of the samples of `batched("sample", seed)` at t."""
        rows = self.normalised(observations)
        with jax.enable_x64(self.double):
            return np.asarray(_noise(self.family, self.network, rows, jax.random.key(seed), t))

    def normalised(self, observations: Any) -> np.ndarray:
        """Observations as networks take them; computed in float64 where these are, or where float32 would blur them."""
        mean, scale = (np.asarray(part) for part in self.normalizer)
        kind = np.float64 if self.double or mean.dtype == np.float64 else np.float32
        whole = (np.asarray(observations, kind) - mean.astype(kind)) / scale.astype(kind)
        return whole.astype(np.float64 if self.double else np.float32)

    def dump(self) -> tuple[dict[str, np.ndarray], dict]:
        """Arrays and JSON metadata."""
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.network)
        arrays = {"network" + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        arrays |= {
            "normalizer.mean": np.asarray(self.normalizer.mean),
            "normalizer.scale": np.asarray(self.normalizer.scale),
        }
        about = {"policy": to_plain(self.family), "space": self.space._asdict()}
        return arrays, about | ({} if self.family.slot == "policy" else {"slot": self.family.slot})

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray], meta: dict) -> SavedPolicy:
        """The inverse of `dump`."""
        space = Space(
            meta["space"]["obs_dim"], meta["space"]["act_dim"], *(tuple(meta["space"][b]) for b in ("low", "high"))
        )
        family = build_node(meta.get("slot", "policy"), meta["policy"])
        template = jax.eval_shape(lambda: family.init(jax.random.key(0), space))
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        with jax.enable_x64(True):  # so that networks keep their type
            network = [jnp.asarray(arrays["network" + jax.tree_util.keystr(path)]) for path, _ in leaves]
        normalizer = Normalizer(arrays["normalizer.mean"], arrays["normalizer.scale"])
        return cls(family, jax.tree_util.tree_unflatten(structure, network), normalizer, space)


def _shape(array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _act(family, action: str, space: Space, network, observations, root, t):
    """Actions of all seeds at normalised observations; compiled once for all networks of a family."""
    parameters = jax.vmap(family.parameters)(network, observations)
    if action == "mean":
        chosen = family.mean_action(parameters)
    else:
        chosen = family.sample(parameters, jax.random.fold_in(root, t))
    return _in_bounds(chosen, space)


@functools.partial(jax.jit, static_argnums=0)
def _noise(family, network, observations, root, t):
    """The noise of samples of all seeds; compiled once for all times."""
    return family.sample_noise(jax.vmap(family.parameters)(network, observations), jax.random.fold_in(root, t))


def _in_bounds(chosen, space: Space):
    """Actions in the environment's bounds; as they are where it has none."""
    bounds = np.array([space.low, space.high])
    if not np.isfinite(bounds).all():
        return chosen
    low, high = jnp.asarray(bounds, chosen.dtype)
    return low + (jnp.clip(chosen, -1.0, 1.0) + 1) / 2 * (high - low)
