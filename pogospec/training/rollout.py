"""Rollouts in Gymnasium: one vector environment for all policies, the same episodes for each, raw returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pogospec.data.gym import quiet
from pogospec.data.tasks import make
from pogospec.errors import TaskError
from pogospec.training import stop
from pogospec.types import Space

Act = Callable[[np.ndarray, int], Any]
"""Observations [policies, episodes, obs] and the time step -> actions [policies, episodes, act]."""


class Evaluator:
    """Rolls policies out; sub-environment (policy, episode) is reset with seed + episode.

    Every policy sees the same episodes, and the same evaluator gives the same returns again. `space`, where
    given, is the task of the data: an environment of other sizes is refused. `double`: whether policies see
    observations in float64, not in float32. After a rollout, `lengths` [policies, episodes] holds the steps of each
    episode.
    """

    def __init__(self, environment_id: str, episodes: int, seed: int, space: Space | None = None, double: bool = False):
        self.environment, self.episodes, self.seed, self.space = environment_id, episodes, seed, space
        self.double = double
        self.lengths = np.zeros((0, episodes), int)
        self._made: dict[int, Any] = {}

    def check(self) -> None:
        """Make one environment, so that a missing or wrong one is found before any training; raises TaskError."""
        with quiet():
            self._environments(1)

    def rollout(self, act: Act, policies: int) -> np.ndarray:
        """Undiscounted returns [policies, episodes], float64.

        `act` gives actions in the environment's bounds; they are clipped to them. Finished episodes keep their
        last observation and are stepped no further. A NaN action ends its episode with a return of NaN.
        """
        count = policies * self.episodes
        with quiet():
            environments = self._environments(count)
            space = environments.single_action_space
            seeds = [self.seed + episode for _ in range(policies) for episode in range(self.episodes)]
            observations = np.array(environments.reset(seed=seeds)[0], np.float64 if self.double else np.float32)
            returns, lengths, running = np.zeros(count), np.zeros(count, int), np.ones(count, bool)
            time = 0
            while running.any():
                stop.check()
                chosen = np.asarray(act(observations.reshape(policies, self.episodes, -1), time))
                actions = self._checked(chosen, policies, space).reshape(count, *space.shape)
                broken = running & np.isnan(actions).reshape(count, -1).any(1)
                returns[broken], running[broken] = np.nan, False
                for i in np.flatnonzero(running):
                    observations[i], reward, terminated, truncated, _ = environments.envs[i].step(actions[i])
                    returns[i] += reward
                    lengths[i] += 1
                    running[i] = not (terminated or truncated)
                time += 1
        self.lengths = lengths.reshape(policies, self.episodes)
        return returns.reshape(policies, self.episodes)

    def close(self) -> None:
        """Close the environments."""
        for made in self._made.values():
            made.close()
        self._made.clear()

    def _checked(self, actions: np.ndarray, policies: int, space: Any) -> np.ndarray:
        wanted = (policies, self.episodes, int(np.prod(space.shape)))
        if actions.shape != wanted:
            raise TaskError(
                f"the environment '{self.environment}' needs actions of shape {wanted} (policies, episodes, actions), "
                f"found {actions.shape}; set data.environment to the environment of the data"
            )
        return np.clip(actions, space.low.ravel(), space.high.ravel()).astype(space.dtype)

    def _environments(self, count: int) -> Any:
        """A vector environment of `count` sub-environments, made once; resets are ours, none is automatic."""
        if count in self._made:
            return self._made[count]
        made = make(self.environment, count)
        try:
            self._check_sizes(made)
        except TaskError:
            made.close()
            raise
        self._made[count] = made
        return made

    def _check_sizes(self, made: Any) -> None:
        from gymnasium.spaces import Box

        spaces = {"observations": made.single_observation_space, "actions": made.single_action_space}
        for name, space in spaces.items():
            if not isinstance(space, Box):
                raise TaskError(
                    f"the environment '{self.environment}' has {name} of type {type(space).__name__}, allowed Box"
                )
        found = tuple(int(np.prod(space.shape)) for space in spaces.values())
        if self.space is not None and found != tuple(self.space[:2]):
            raise TaskError(
                f"the environment '{self.environment}' has {found[0]} observations and {found[1]} actions, the data "
                f"have {self.space.obs_dim} and {self.space.act_dim}; set data.environment"
            )
