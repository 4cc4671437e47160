"""Real trips through OGBench's medium maze for points, in the layout of its files, by walking from cell to cell."""

from typing import Any

import numpy as np

ID, FILE = "ogbench/pointmaze-medium-navigate-singletask-task4-v0", "pointmaze-medium-navigate-v0.npz"
ENVIRONMENT = "pogospec/OGBench_pointmaze-medium-singletask-task4-v0"
TRIPS = ((4, 0, 200), (2, 1, 60), (4, 2, 200))
"""Number of a task, seed and steps of each trip; it goes on at the goal."""


def towards(env: Any, goal: Any) -> np.ndarray:
    """The action that leads to the next cell on the way to a goal."""
    inner = env.unwrapped
    place = inner.get_xy()
    if inner.xy_to_ij(place) == inner.xy_to_ij(goal):
        return np.clip(np.asarray(goal) - place, -1, 1).astype(np.float32)
    way = inner.get_oracle_subgoal(place, goal)[0] - place
    return (way / np.linalg.norm(way)).astype(np.float32)


def collect(path):
    """Write the trips to a file; what its columns hold, whole trips one after the other."""
    import gymnasium
    import ogbench  # noqa: F401  # it registers its environments

    np.random.seed(0)  # where trips start
    env: Any = gymnasium.make("pointmaze-medium-v0", terminate_at_goal=False)
    columns: dict[str, list] = {name: [] for name in ("observations", "actions", "terminals", "qpos", "qvel")}
    draw = np.random.default_rng(0)
    for task, seed, steps in TRIPS:
        observation, _ = env.reset(seed=seed, options={"task_id": task})
        for step in range(steps + 1):
            goal = env.unwrapped.cur_task_info["goal_xy"]
            action = np.clip(towards(env, goal) + draw.normal(0, 0.2, 2), -1, 1).astype(np.float32)
            state = {"qpos": env.unwrapped.data.qpos.copy(), "qvel": env.unwrapped.data.qvel.copy()}
            row = {"observations": observation, "actions": action, "terminals": step == steps, **state}
            for name, value in row.items():
                columns[name].append(value)
            observation, *_ = env.step(action)
    env.close()
    kinds = {"terminals": bool}
    whole: dict[str, Any] = {name: np.asarray(rows, kinds.get(name, np.float32)) for name, rows in columns.items()}
    np.savez(path, **whole)
    return whole
