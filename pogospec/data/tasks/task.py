"""Environments as data name them: a Gymnasium id, and as JSON behind it what its own settings are not.

    AntMaze_UMaze-v4 {"maze_map": [[1, 1, 1], ["r", 0, "g"], [1, 1, 1]], "observe": ["observation"]}

An AntMaze is played as D4RL plays it, whatever its data say: the reward is 1 at the goal and 0 elsewhere, and the
episode ends there, so that its return is whether the goal was reached.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.data.tasks.goals import entries
from pogospec.errors import TaskError

OURS = "pogospec/D4RL_AntMaze_"
ROBOTICS = ("AntMaze_", "PointMaze_", "Adroit", "Fetch", "Hand", "FrankaKitchen", OURS)
"""Beginnings of ids that gymnasium-robotics provides."""
PLAYED: dict[str, Any] = {"continuing_task": False, "reward_type": "sparse"}
LIMITS = {"UMaze": 700, "Medium": 1000, "Large": 1000}
"""Maze of D4RL -> steps of an episode."""


class Task(NamedTuple):
    """An id, what to make it with, and the entries of its Dict observations that are observed (None: by default)."""

    id: str
    arguments: dict[str, Any]
    observe: tuple[str, ...] | None = None

    def __str__(self) -> str:
        more = self.arguments | ({} if self.observe is None else {"observe": list(self.observe)})
        return f"{self.id} {json.dumps(more)}" if more else self.id


def task_of(environment: str) -> Task:
    """The task that a text names."""
    name, _, text = environment.partition(" {")
    arguments = json.loads("{" + text) if text else {}
    observe = arguments.pop("observe", None)
    return Task(name, arguments, None if observe is None else tuple(observe))


def is_antmaze(environment: str | None) -> bool:
    """Whether this is an AntMaze, of gymnasium-robotics or as D4RL has it."""
    return environment is not None and environment.startswith(("AntMaze_", OURS))


def make(environment: str, count: int | None = None) -> Any:
    """An environment with flat observations, or a vector environment of `count`, none of which resets by itself.

    Raises TaskError where it cannot be made.
    """
    import gymnasium
    from gymnasium.vector import AutoresetMode

    task = task_of(environment)
    arguments = task.arguments | (PLAYED if task.id.startswith("AntMaze_") else {})
    try:
        _register(task.id)
        if count is None:
            return _flat(gymnasium.make(task.id, **arguments), task)
        return gymnasium.make_vec(
            task.id,
            num_envs=count,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED},
            wrappers=[lambda made: _flat(made, task)],
            **arguments,
        )
    except (gymnasium.error.Error, ImportError) as error:
        raise TaskError(
            f"the environment '{task.id}' cannot be made ({error}); install the package that provides it "
            '(MuJoCo tasks: pip install "gymnasium[mujoco]"), or name another one in data.environment'
        ) from None


def _register(name: str) -> None:
    """Tell Gymnasium of the tasks of gymnasium-robotics, and of D4RL's mazes; raises TaskError where it is missing."""
    import gymnasium

    if not name.startswith(ROBOTICS) or name in gymnasium.registry:
        return
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it tells of tasks that are not asked for
            import gymnasium_robotics
    except ImportError:
        raise TaskError(
            f"the environment '{name}' is one of gymnasium-robotics, which is not installed; "
            'pip install "pogospec[robotics]"'
        ) from None
    gymnasium.register_envs(gymnasium_robotics)
    for maze, steps in LIMITS.items():
        arguments = {"maze": maze}
        gymnasium.register(
            f"{OURS}{maze}-v2", "pogospec.data.tasks.antmaze:make", max_episode_steps=steps, kwargs=arguments
        )


def _flat(made: Any, task: Task) -> Any:
    """The environment with the chosen entries of its observations in one array, where they are a Dict."""
    import numpy as np
    from gymnasium.spaces import Box, Dict
    from gymnasium.wrappers import TransformObservation

    if is_antmaze(task.id):  # the model is read, and gymnasium-robotics leaves a file of it for each environment
        Path(made.unwrapped.tmp_xml_file_path).unlink(missing_ok=True)
    if not isinstance(made.observation_space, Dict):
        return made
    sizes = entries(made.observation_space, task.observe)
    box = Box(-np.inf, np.inf, (sum(sizes.values()),), np.float64)
    return TransformObservation(made, lambda found: np.concatenate([found[name] for name in sizes]), box)
