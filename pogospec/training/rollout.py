"""Rollouts in Gymnasium: one environment for each policy and episode, the same episodes for all, raw returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pogospec.data.gym import quiet
from pogospec.data.tasks import Played
from pogospec.errors import TaskError
from pogospec.training import stop
from pogospec.types import Space

Act = Callable[[np.ndarray, int], Any]
"""Observations, float64 [policies, episodes, obs], and the time step -> actions [policies, episodes, act]."""


class Evaluator:
    """Rolls policies out; environment (policy, episode) is reset with seed + episode.

    Every policy sees the same episodes, and the same evaluator gives the same returns again. `space`, where
    given, is the task of the data: an environment of other sizes is refused. After a rollout, `lengths`
    [policies, episodes] holds the steps of each episode.
    """

    def __init__(self, environment_id: str, episodes: int, seed: int, space: Space | None = None):
        self.environment, self.episodes, self.seed, self.space = environment_id, episodes, seed, space
        self.lengths = np.zeros((0, episodes), int)
        self._made: dict[int, Played] = {}

    def check(self) -> None:
        """Make one environment and try it, so that what is wrong with it is found before any training.

        Raises TaskError for one that cannot be made, that is not that of the data, that fails, or that does not end.
        """
        with quiet():
            self._environments(1).probe(self.seed)

    def rollout(self, act: Act, policies: int) -> np.ndarray:
        """Undiscounted returns [policies, episodes], float64.

        `act` gives actions in the environment's bounds; they are clipped to them. Finished episodes keep their
        last observation and are stepped no further. A NaN action ends its episode with a return of NaN. Raises
        TaskError for what the environment does wrong.
        """
        count = policies * self.episodes
        with quiet():
            environments = self._environments(count)
            space = environments.actions
            seeds = [self.seed + episode for _ in range(policies) for episode in range(self.episodes)]
            observations = environments.reset(seeds)
            returns, lengths, running = np.zeros(count), np.zeros(count, int), np.ones(count, bool)
            time = 0
            while running.any():
                stop.check()
                chosen = np.asarray(act(observations.reshape(policies, self.episodes, -1), time))
                actions = self._checked(chosen, policies, space).reshape(count, *space.shape)
                broken = running & np.isnan(actions).reshape(count, -1).any(1)
                returns[broken], running[broken] = np.nan, False
                told = environments.step(np.flatnonzero(running).tolist(), actions, observations, time)
                for row, (reward, over) in told.items():
                    returns[row] += reward
                    lengths[row] += 1
                    running[row] = not over
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

    def _environments(self, count: int) -> Played:
        """So many environments, made once; resets are ours, none is automatic."""
        if count not in self._made:
            self._made[count] = Played(self.environment, count, self.space)
        return self._made[count]
