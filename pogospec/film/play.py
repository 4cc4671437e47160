"""What the environments of several policies look like while each plays the same episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from pogospec.data.gym import quiet
from pogospec.data.tasks import Played
from pogospec.data.tasks.guard import reason
from pogospec.errors import RunError
from pogospec.film import renderers
from pogospec.types import Space

Act = Callable[[np.ndarray, int], np.ndarray]
"""A raw observation [obs] and the time step -> an action [act] in the bounds of the environment."""
FALLBACK = 30.0
"""Pictures a second of an environment that does not say how many it means."""


class Panel(NamedTuple):
    """What one policy's environment looks like: a picture [height, width, 3], the return so far, whether it is over."""

    picture: np.ndarray
    gained: float
    over: bool


class _Watch:
    """Looks at an environment, at every so many of the moments that it is told of."""

    def __init__(self, env: Any, stride: int):
        self.env, self.stride, self.ticks = env, stride, 0
        self.shots: list[np.ndarray] = []

    def __call__(self) -> None:
        self.ticks += 1
        if self.ticks % self.stride == 0:
            self.shots.append(drawn(self.env))

    def taken(self) -> list[np.ndarray]:
        """The pictures since the last time."""
        shots, self.shots = self.shots, []
        return shots


class Stage:
    """An environment for each policy, which are played side by side; raises TaskError for what they do wrong."""

    def __init__(self, environment: str, acts: Sequence[Act], space: Space, pixels: int):
        self.acts = acts
        with quiet():
            self.played = Played(environment, len(acts), space, pixels)
        base = self.played.envs[0].unwrapped
        self.inner = hasattr(base, "during")
        """Whether a step lasts so long that one looks while it goes on."""
        self.rate = _rate(base)

    def episode(self, seed: int, stride: int, most: float | None = None) -> Iterator[list[Panel]]:
        """Panels of all policies, every `stride`-th picture, until all are over or `most` seconds have passed."""
        with quiet():
            space, envs = self.played.actions, self.played.envs
            watches = [_Watch(env, stride) for env in envs]
            observations = self.played.reset([seed] * len(envs))
            actions = np.zeros((len(envs), *space.shape), space.dtype)
            gained, over = np.zeros(len(envs)), np.zeros(len(envs), bool)
            last, time = [drawn(env) for env in envs], 0
            yield [Panel(picture, 0.0, False) for picture in last]
            while not over.all() and (most is None or max(one.ticks for one in watches) < most * self.rate):
                before = gained.tolist()
                for row in np.flatnonzero(~over).tolist():
                    chosen = np.reshape(self.acts[row](observations[row], time), space.shape)
                    actions[row] = np.clip(chosen, space.low, space.high)
                    if np.isnan(actions[row]).any():
                        gained[row], over[row] = np.nan, True
                        continue
                    if self.inner:
                        envs[row].unwrapped.during = watches[row]
                    reward, over[row] = self.played.step([row], actions, observations, time)[row]
                    gained[row] += reward
                    if not self.inner:
                        watches[row]()
                time += 1
                shots = [watch.taken() for watch in watches]
                for number in range(most_shots := max(map(len, shots))):
                    last = [own[number] if number < len(own) else old for own, old in zip(shots, last, strict=True)]
                    known = before if number < most_shots - 1 else gained.tolist()
                    ended = over & (number == most_shots - 1)
                    yield [Panel(*one) for one in zip(last, known, ended.tolist(), strict=True)]
            yield [Panel(*one) for one in zip(last, gained.tolist(), over.tolist(), strict=True)]

    def close(self) -> None:
        """Close the environments."""
        self.played.close()


def _rate(env: Any) -> float:
    """Moments that are looked at in a second of the task: its steps, or those within one."""
    rate = (env.metadata or {}).get("render_fps") or FALLBACK
    for engine in (env, getattr(env, "ant_env", None)):  # a maze knows its ant's
        dt = getattr(engine, "dt", None)
        if isinstance(dt, float) and dt > 0:
            return 1 / dt
    return float(rate)


def drawn(env: Any) -> np.ndarray:
    """The picture of an environment; raises RunError where it has none, with what works on this machine."""
    try:
        picture = env.render()
    except Exception as error:
        if "pygame" in str(error) and find_spec("pygame") is None:  # Gymnasium names an extra that it does not have
            raise RunError("the environment is drawn by pygame, which is not installed; pip install pygame") from None
        raise RunError(f"the environment cannot be drawn ({reason(error)}); {renderers.advice()}") from error
    if not isinstance(picture, np.ndarray) or picture.ndim != 3:
        raise RunError("the environment draws no pictures (its render mode rgb_array); nothing can be filmed")
    return picture
