"""Environments that are played: sizes that fit, episodes that end, and what they do wrong told with their name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pogospec.data.tasks.guard import LONGEST, guarded
from pogospec.data.tasks.task import make, task_of
from pogospec.errors import TaskError
from pogospec.types import Space

PROBED = 20.0
"""Seconds that an episode is tried for, before any training, where its environment states no time limit."""


class Played:
    """So many environments of one task, each of which plays an episode at a time; all methods raise TaskError.

    `space`, where given, is that of the data: an environment of other sizes is refused. `pixels`: that of pictures,
    where somebody looks.
    """

    def __init__(self, environment: str, count: int, space: Space | None = None, pixels: int | None = None):
        self.name, self.envs = task_of(environment).id, []
        try:
            for _ in range(count):
                self.envs.append(make(environment, pixels))
            self.actions, self.width = self._sizes(space)
        except BaseException:
            self.close()
            raise
        self.limited = _limited(self.envs[0])
        """Whether a time limit ends its episodes."""

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        """First observations [count, obs], float64, of episodes with these seeds."""
        found = np.empty((len(self.envs), self.width))
        with guarded(self.name, "reset"):
            for row, env in enumerate(self.envs):
                found[row] = self._flat(env.reset(seed=seeds[row])[0])
        return found

    def step(self, rows: Iterable[int], actions: np.ndarray, observations: np.ndarray, before: int) -> dict[int, Any]:
        """Step some of the environments; `observations` take what they observe. Row -> (reward, whether it is over).

        `before`: the steps that their episodes have had.
        """
        if not self.limited and before >= LONGEST:
            raise TaskError(
                f"the environment '{self.name}' states no time limit, and has not ended an episode after {LONGEST:,} "
                "steps; set data.max_episode_steps, or name another one in data.environment"
            )
        told: dict[int, Any] = {}
        with guarded(self.name, "stepped"):
            for row in rows:
                found, reward, terminated, truncated, _ = self.envs[row].step(actions[row])
                observations[row] = self._flat(found)
                told[row] = np.asarray(reward, np.float64).item(), bool(terminated or truncated)
        return told

    def probe(self, seed: int) -> None:
        """Reset the first and step it once; where no limit is sure to end an episode, play one of random actions."""
        observations, draw, over, steps = self.reset([seed] * len(self.envs)), np.random.default_rng(seed), False, 0
        until = time.monotonic() + PROBED
        while not over and (steps == 0 or time.monotonic() < until):
            actions = np.stack([self._drawn(draw)] * len(self.envs))
            over = self.step([0], actions, observations, steps)[0][1] or self.limited
            steps += 1

    def close(self) -> None:
        """Close all; what goes wrong then is nobody's."""
        for env in self.envs:
            try:
                with guarded(self.name, "stepped"):
                    env.close()
            except TaskError:
                continue
        self.envs.clear()

    def _drawn(self, draw: np.random.Generator) -> np.ndarray:
        bounds = (np.asarray(bound, np.float64) for bound in (self.actions.low, self.actions.high))
        low, high = (np.nan_to_num(bound, posinf=1.0, neginf=-1.0) for bound in bounds)
        return draw.uniform(low, high).astype(self.actions.dtype)

    def _flat(self, found: Any) -> np.ndarray:
        flat = np.asarray(found, np.float64).ravel()
        if len(flat) != self.width:
            raise ValueError(f"it observes {len(flat)} numbers, its space has {self.width}")
        return flat

    def _sizes(self, space: Space | None) -> tuple[Any, int]:
        """The action space, and how many numbers are observed."""
        from gymnasium.spaces import Box

        spaces = {"observations": self.envs[0].observation_space, "actions": self.envs[0].action_space}
        for name, own in spaces.items():
            if not isinstance(own, Box):
                raise TaskError(
                    f"the environment '{self.name}' has {name} of type {type(own).__name__}, allowed Box; name another "
                    "one in data.environment"
                )
        found = tuple(int(np.prod(own.shape)) for own in spaces.values())
        if space is not None and found != tuple(space[:2]):
            raise TaskError(
                f"the environment '{self.name}' has {found[0]} observations and {found[1]} actions, the data "
                f"have {space.obs_dim} and {space.act_dim}; set data.environment, or its arguments in data.arguments"
            )
        return spaces["actions"], found[0]


def _limited(env: Any) -> bool:
    """Whether one of the wrappers of an environment ends its episodes after a number of steps."""
    from gymnasium import Wrapper
    from gymnasium.wrappers import TimeLimit

    while isinstance(env, Wrapper):
        if isinstance(env, TimeLimit):
            return True
        env = env.env
    return False
