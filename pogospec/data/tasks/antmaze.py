"""D4RL's AntMaze -v2 by gymnasium-robotics: D4RL's mazes, coordinates, starts, goals and ant, in today's MuJoCo.

gymnasium-robotics has the same bodies with five times the torque, half the time step and other contacts, counts y
against the rows of the map, and puts the origin into its middle. After `d4rl/locomotion/ant.py`, `maze_env.py`,
`goal_reaching_env.py` and `assets/ant.xml`. Needs the extra `robotics`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.wrappers import TransformObservation
from gymnasium_robotics.envs.maze import maps
from gymnasium_robotics.envs.maze.ant_maze_v5 import AntMazeEnv

MAZES: dict[str, tuple[Any, tuple[int, int]]] = {
    "UMaze": (maps.U_MAZE, (3, 1)),
    "Medium": (maps.MEDIUM_MAZE, (6, 6)),
    "Large": (maps.LARGE_MAZE, (7, 9)),
}
"""Maze -> its walls, and the cell of its goal; the ant starts in cell (1, 1), the origin of D4RL's coordinates."""
RADIUS = 0.5
TIME_STEP, TORQUE, SOLIMP = 0.02, 30.0, (0.8, 0.8, 0.01)


class D4RLAntMaze(AntMazeEnv):
    """Episodes start in one cell, end at a goal that is drawn anew in one cell, and reward 1 for reaching it."""

    def __init__(self, maze: str, **arguments: Any):
        walls, (row, column) = MAZES[maze]
        rows: list[list[int | str]] = [list(cells) for cells in walls]
        rows[1][1], rows[row][column] = maps.RESET, maps.GOAL
        super().__init__(maze_map=rows[::-1], continuing_task=False, include_cfrc_ext_in_observation=False, **arguments)
        self.origin = self.maze.unique_reset_locations[0].copy()
        self.ant_env._reset_noise_scale = 0.1
        self.model.opt.timestep, self.model.actuator_gear[:, 0], self.model.geom_solimp[:, :3] = (
            TIME_STEP,
            TORQUE,
            SOLIMP,
        )

    def generate_target_goal(self) -> np.ndarray:
        """A goal off the middle of its cell, towards larger coordinates only."""
        shift = self.np_random.uniform(0.0, 1.0, 2) + self.np_random.uniform(0.0, 0.5, 2)
        return super().generate_target_goal() + shift

    def add_xy_position_noise(self, xy_pos: np.ndarray) -> np.ndarray:
        """None: goals carry their own, and starts that of all joints."""
        return xy_pos

    def compute_terminated(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> bool:
        """Whether the goal is reached."""
        return bool(np.linalg.norm(achieved_goal - desired_goal) <= RADIUS)

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> float:
        """1 at the goal, else 0."""
        return float(self.compute_terminated(achieved_goal, desired_goal, info))


def make(maze: str, **arguments: Any) -> TransformObservation:
    """One of `MAZES`, observed in D4RL's coordinates."""
    made = D4RLAntMaze(maze, **arguments)

    def moved(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return found | {name: found[name] - made.origin for name in ("achieved_goal", "desired_goal")}

    return TransformObservation(made, moved, made.observation_space)
