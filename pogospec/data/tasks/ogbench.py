"""OGBench's single tasks as they are scored: the reward is 1 where the task is complete, and the episode ends there.

OGBench reports the rate of success, and the return of such an episode is whether it succeeds. All else is that of the
package ogbench (extra `ogbench`), with draws that the seed of an episode decides: the package takes those of starts and
teleports from NumPy's global generator, and those of its first actions from an action space without a seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator


class Success(gymnasium.Wrapper):
    """Reward 1 where the task is complete, else 0."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._draws = np.random.RandomState().get_state()  # noqa: NPY002  # the kind of the one that it stands for

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode, the same for the same seed."""
        if seed is not None:
            self._draws = np.random.RandomState(seed).get_state()
            self.env.action_space.seed(seed)
        with self._drawn():
            return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """A step, with whether the task was complete before it as the reward."""
        with self._drawn():
            found, _, terminated, truncated, info = self.env.step(action)
        return found, float(info["success"]), terminated, truncated, info

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        """Let NumPy's global generator draw for this environment alone."""
        others = np.random.get_state()
        np.random.set_state(self._draws)
        try:
            yield
        finally:
            self._draws = np.random.get_state()
            np.random.set_state(others)


def make(name: str, **arguments: Any) -> Success:
    """One of OGBench's `singletask` environments by its Gymnasium id, which the import of ogbench has registered."""
    spec: Any = gymnasium.spec(name)
    made: Any = load_env_creator(spec.entry_point)(**(spec.kwargs | arguments))
    if isinstance(getattr(type(made), "action_space", None), property):  # a new one, without a seed, at each look
        made.__class__ = type(type(made).__name__, (type(made),), {"action_space": made.action_space})
    elif os.path.isfile(place := getattr(made, "fullpath", "")):  # the model is read, and a file is left for each
        os.unlink(place)
    return Success(made)
