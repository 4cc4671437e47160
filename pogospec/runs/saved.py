"""A saved policy is whole: family, networks, normaliser and action bounds travel together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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

    def batched(self, action: str = "mean", seed: int = 0) -> Callable:
        """A function (observations [seeds, batch, obs], t) -> environment actions [seeds, batch, act]."""
        root, fixed = jax.random.key(seed), (self.family, action, self.space)

        def in_precision(observations, t):
            observations = self.normalised(observations)
            with jax.enable_x64(self.double):
                return np.asarray(_act(*fixed, self.network, observations, root, t))

        return in_precision

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
        return arrays, {"policy": to_plain(self.family), "space": self.space._asdict()}

    @classmethod
    def load(cls, arrays: dict[str, np.ndarray], meta: dict) -> SavedPolicy:
        """The inverse of `dump`."""
        space = Space(
            meta["space"]["obs_dim"], meta["space"]["act_dim"], *(tuple(meta["space"][b]) for b in ("low", "high"))
        )
        family = build_node("policy", meta["policy"])
        template = jax.eval_shape(lambda: family.init(jax.random.key(0), space))
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        with jax.enable_x64(True):  # so that networks keep their type
            network = [jnp.asarray(arrays["network" + jax.tree_util.keystr(path)]) for path, _ in leaves]
        normalizer = Normalizer(arrays["normalizer.mean"], arrays["normalizer.scale"])
        return cls(family, jax.tree_util.tree_unflatten(structure, network), normalizer, space)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _act(family, action: str, space: Space, network, observations, root, t):
    """Actions of all seeds at normalised observations; compiled once for all networks of a family."""
    parameters = jax.vmap(family.parameters)(network, observations)
    if action == "mean":
        chosen = family.mean_action(parameters)
    else:
        chosen = family.sample(parameters, jax.random.fold_in(root, t))
    bounds = np.array([space.low, space.high])
    if not np.isfinite(bounds).all():
        return chosen
    low, high = jnp.asarray(bounds, chosen.dtype)
    return low + (jnp.clip(chosen, -1.0, 1.0) + 1) / 2 * (high - low)
