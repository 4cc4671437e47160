"""Rollouts in Gymnasium: one vector environment for all policies, the same episodes for each, raw returns."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pogospec.errors import DataError
from pogospec.types import Space


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep deprecation notes of -v4 environments and MuJoCo's warnings off the screen."""
    import gymnasium

    level = gymnasium.logger.min_level
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            gymnasium.logger.min_level = level


class Evaluator:
    """Rolls policies out; sub-environment (policy, episode) is reset with seed + episode."""

    def __init__(self, environment: str, episodes: int, seed: int, space: Space | None = None):
        self.environment, self.episodes, self.seed, self.space = environment, episodes, seed, space
        self._environments = None

    def _make(self, count: int):
        import gymnasium
        from gymnasium.vector import AutoresetMode

        if self._environments is not None and self._environments.num_envs == count:
            return self._environments
        self.close()
        try:
            made = gymnasium.make_vec(
                self.environment,
                num_envs=count,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            )
        except (gymnasium.error.Error, ImportError) as error:
            raise DataError(
                f"the environment '{self.environment}' cannot be made ({error}); install the package that provides "
                "it, or name another one in data.environment"
            ) from None
        found = (
            int(np.prod(made.single_observation_space.shape or (0,))),
            int(np.prod(made.single_action_space.shape or (0,))),
        )
        if self.space is not None and found != self.space[:2]:
            made.close()
            raise DataError(
                f"the environment '{self.environment}' has {found[0]} observations and {found[1]} actions, the data "
                f"have {self.space.obs_dim} and {self.space.act_dim}; set data.environment"
            )
        self._environments = made
        return made

    def check(self) -> None:
        """Make one environment, so that a missing one is found before any training."""
        with quiet():
            self._make(1)

    def rollout(self, act: Callable[[np.ndarray, int], np.ndarray], policies: int) -> np.ndarray:
        """Undiscounted returns [policies, episodes]; `act` maps observations [policies, episodes, obs] to actions."""
        with quiet():
            environments = self._make(policies * self.episodes)
            seeds = [self.seed + episode for _ in range(policies) for episode in range(self.episodes)]
            observations, _ = environments.reset(seed=seeds)  # pyright: ignore[reportArgumentType]
            returns = np.zeros(len(seeds))
            running = np.ones(len(seeds), bool)
            shape = (policies, self.episodes, -1)
            space: Any = environments.single_action_space
            time = 0
            while running.any():
                actions = act(np.asarray(observations, np.float32).reshape(shape), time)
                actions = np.clip(actions.reshape(len(seeds), -1), space.low, space.high)
                observations, rewards, terminated, truncated, _ = environments.step(actions)
                returns += np.where(running, rewards, 0.0)
                running &= ~(terminated | truncated)
                time += 1
        return returns.reshape(policies, self.episodes)

    def close(self) -> None:
        """Close the environments."""
        if self._environments is not None:
            self._environments.close()
            self._environments = None
