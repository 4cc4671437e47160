"""A trained policy in Python: from raw observations to actions of the environment."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.errors import UsageError
from pogospec.policies.base import row_of
from pogospec.registry import kind_of
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of, seed_row
from pogospec.runs.saved import SavedPolicy
from pogospec.terminal import command
from pogospec.text import html_table


class Policy:
    """A trained policy of one seed, with normaliser, squashing and action bounds inside.

    `family`, `network` and `space` are there for those who want more than actions: `parameters` gives the
    parameters of the action distribution, whose `distribution()` is NumPyro's.
    """

    def __init__(self, saved: SavedPolicy, seed: int, label: str, row: int | None = None):
        row = seed if row is None else row
        network = jax.tree.map(lambda leaf: leaf[row : row + 1], saved.network)
        self._saved = saved._replace(network=network)
        self._draws = 0
        self.seed, self.label = seed, label
        self.family, self.space = saved.family, saved.space
        self.network = jax.tree.map(lambda leaf: leaf[0], network)
        self._act = {action: self._saved.batched(action, seed) for action in ("mean", "sample")}

    def __repr__(self) -> str:
        return ", ".join(f"{name} {text}" for name, text in self._facts()).replace("policy ", "Policy ", 1)

    def _repr_html_(self) -> str:
        return html_table((), self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        weights = sum(leaf.size for leaf in jax.tree.leaves(self.network))
        bounds = [f"[{low:g}, {high:g}]" for low, high in zip(self.space.low, self.space.high, strict=True)]
        bounds = bounds[:1] if len(set(bounds)) == 1 else bounds
        return [
            ("policy", f"'{self.label}'"),
            ("seed", str(self.seed)),
            ("family", kind_of(self.family.slot, type(self.family))),
            ("observations", str(self.space.obs_dim)),
            ("actions", f"{self.space.act_dim} in {' × '.join(bounds)}"),
            ("parameters", f"{weights:,}"),
        ]

    def act(self, observation: Any, action: Literal["mean", "sample"] | None = None, *, key: Any = None) -> np.ndarray:
        """Actions in the environment's bounds, [act] or [batch, act], of raw observations [obs] or [batch, obs].

        Args:
            observation: raw, as the environment gives it.
            action: the mean (the default), or a sample, each call another one.
            key: a key of JAX, or a whole number: a sample that the key alone decides.

        Raises:
            UsageError: observations of another size or that are not finite, an action that is neither, a key beside
                the mean.

        """
        action = action or ("mean" if key is None else "sample")
        if action not in self._act:
            raise UsageError(f"found the action '{action}', allowed {', '.join(self._act)}")
        if key is not None and action == "mean":
            raise UsageError("found a key for the action 'mean', which draws nothing; allowed with sample")
        observations = self._rows(observation)
        if key is not None:
            chosen = self._saved.sampled(observations[None], _key(key))[0]
        else:
            self._draws += action == "sample"
            chosen = self._act[action](observations[None], self._draws)[0]
        return chosen if np.ndim(observation) == 2 else chosen[0]

    def parameters(self, observation: Any) -> Any:
        """Parameters of the action distribution, in actions scaled to [-1, 1]; shapes as in `act`."""
        observations = self._rows(observation)
        with jax.enable_x64(self._saved.double):
            found = self.family.parameters(self.network, self._saved.normalised(observations))
        return found if np.ndim(observation) == 2 else row_of(found, 0)

    def _rows(self, observation: Any) -> np.ndarray:
        try:
            rows = np.asarray(observation, np.float64)
        except (TypeError, ValueError):
            raise UsageError(f"found an observation of type {type(observation).__name__}, allowed numbers") from None
        if rows.ndim not in (1, 2) or rows.shape[-1] != self.space.obs_dim:
            size = self.space.obs_dim
            raise UsageError(f"found an observation of shape {rows.shape}, allowed ({size},) or (batch, {size})")
        wrong = np.argwhere(~np.isfinite(np.atleast_2d(rows)))
        if len(wrong):
            row, entry = map(int, wrong[0])
            where = f"entry {entry}" + (f" of row {row}" if rows.ndim == 2 else "")
            value = np.atleast_2d(rows)[row, entry]
            raise UsageError(f"found {value} in {where} of an observation, allowed finite numbers")
        return rows[None] if rows.ndim == 1 else rows


def _key(key: Any) -> Any:
    """A key of JAX: typed, raw, or a whole number that makes one."""
    try:
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            return jax.random.key(int(key))
        given: Any = key
        typed = isinstance(given, jax.Array) and jnp.issubdtype(given.dtype, jax.dtypes.prng_key)
        made: Any = given if typed else jax.random.wrap_key_data(jnp.asarray(given, given.dtype))
        if made.shape == ():
            return made
    except (AttributeError, TypeError, ValueError, OverflowError):
        pass
    raise UsageError("found a key of another form, allowed jax.random.key(0), or a whole number") from None


def load_policy(run: RunDirectory | str | Any, policy: str | None = None, seed: int | None = None) -> Policy:
    """Load a policy of a run: `policy` is behavior, 'step 1', …; default: the last step; raises RunDirectoryError.

    Where weights were averaged these are what the labels mean; 'step 1 (last)' are the last weights.
    `seed` is one of the run's; default: its first.
    """
    directory, label = policy_of(run, policy)
    row = seed_row(directory.manifest, seed)
    saved = SavedPolicy.load(*directory.load_policy(label))
    return Policy(saved, numbers_of(directory.manifest)[row], label, row)


def policy_of(run: RunDirectory | str | Any, policy: str | None) -> tuple[RunDirectory, str]:
    """A run, and the label of one of its policies, the last by default."""
    directory = run if isinstance(run, RunDirectory) else RunDirectory.open(run)
    labels = directory.policies() if policy is None else [policy]
    if not labels:
        again = command("resume", directory.path)
        raise UsageError(f"{directory.path} holds no policies yet; go on with: {again}")
    return directory, labels[-1]
