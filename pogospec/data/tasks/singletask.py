"""OGBench's single tasks: their goals, and the reward of a state as OGBench's `relabel_utils.py` gives it.

A task is a goal of an environment. Mazes reward 0 at the goal and -1 elsewhere, with the ball in the place of the ant
in AntSoccer; manipulation rewards minus the number of things (cubes, buttons, drawer, window) that are not as the goal
has them. A state with all of them right completes the task: nothing is gained after it. Goals and tolerances are those
of the package ogbench 1.2 (`locomaze/maze.py`, `manipspace/envs/*_env.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

MAZES = {
    "medium": ((20, 20), (20, 0), (4, 12), (0, 20), (0, 0)),
    "large": ((36, 24), (0, 24), (36, 0), (12, 16), (12, 16)),
    "giant": ((52, 36), (0, 36), (0, 0), (44, 16), (28, 8)),
    "teleport": ((0, 24), (36, 24), (36, 24), (36, 24), (0, 24)),
}
"""Maze -> x and y of its five goals."""
SOCCER = {
    "arena": ((4, 16), (4, 4), (20, 20), (0, 20), (20, 0)),
    "medium": ((20, 20), (0, 0), (16, 20), (8, 16), (20, 0)),
}
"""Maze -> x and y of the five places for the ball."""
CUBES = {
    "single": (
        ((0.425, -0.1, 0.02),),
        ((0.5, 0.0, 0.02),),
        ((0.35, 0.0, 0.02),),
        ((0.5, 0.2, 0.02),),
        ((0.5, -0.2, 0.02),),
    ),
    "double": (
        ((0.425, 0.0, 0.02), (0.425, 0.1, 0.02)),
        ((0.35, 0.1, 0.02), (0.5, 0.1, 0.02)),
        ((0.425, -0.2, 0.02), (0.425, 0.2, 0.02)),
        ((0.425, 0.1, 0.02), (0.425, -0.1, 0.02)),
        ((0.425, 0.0, 0.02), (0.425, 0.0, 0.06)),
    ),
    "triple": (
        ((0.35, -0.1, 0.02), (0.35, 0.1, 0.02), (0.5, 0.1, 0.02)),
        ((0.5, 0.0, 0.02), (0.5, 0.2, 0.02), (0.5, -0.2, 0.02)),
        ((0.35, -0.1, 0.02), (0.5, -0.2, 0.02), (0.5, 0.0, 0.02)),
        ((0.5, -0.1, 0.02), (0.5, 0.1, 0.02), (0.35, 0.0, 0.02)),
        ((0.425, 0.2, 0.02), (0.425, 0.2, 0.06), (0.425, 0.2, 0.1)),
    ),
    "quadruple": (
        ((0.35, -0.25, 0.02), (0.35, 0.1, 0.02), (0.5, -0.1, 0.02), (0.5, 0.25, 0.02)),
        ((0.375, 0.1, 0.02), (0.475, 0.1, 0.02), (0.375, -0.1, 0.02), (0.475, -0.1, 0.02)),
        ((0.525, -0.2, 0.02), (0.325, 0.2, 0.02), (0.325, -0.2, 0.02), (0.525, 0.2, 0.02)),
        ((0.525, 0.1, 0.02), (0.325, 0.1, 0.02), (0.325, -0.1, 0.02), (0.525, -0.1, 0.02)),
        ((0.425, 0.2, 0.02), (0.425, 0.2, 0.06), (0.425, 0.2, 0.1), (0.425, 0.2, 0.14)),
    ),
}
"""Cubes -> x, y and z of each cube in the five goals."""
DRAWN = (0.33, -0.356, 0.065986)
SCENES = (
    ((0.35, 0.05, 0.02), "11", -0.16, 0.2),
    ((0.35, -0.05, 0.02), "00", 0.0, 0.0),
    ((0.4, 0.15, 0.02), "11", -0.16, 0.0),
    (DRAWN, "10", 0.0, 0.0),
    (DRAWN, "00", 0.0, 0.2),
)
"""The five goals: x, y and z of the cube (DRAWN: in the drawer), the two buttons, drawer and window."""
PUZZLES = {
    "3x3": ("110101011", "011111111", "101010101", "111111111", "101101101"),
    "4x4": ("1" * 16, "1111100110011111", "0101101001011010", "0" * 16, "0" * 16),
    "4x5": ("0" * 20, "1" * 20, "11111100011000111111", "00000001000010000000", "10001011100111010001"),
    "4x6": (
        "0" * 24,
        "0" * 24,
        "111110110101101011011111",
        "100001000000000000100001",
        "100001011110011110100001",
    ),
}
"""Grid -> which buttons are on in the five goals, row by row."""
DEFAULTS = {"pointmaze": 1, "antmaze": 1, "humanoidmaze": 1, "antsoccer": 4, "cube": 2, "scene": 2, "puzzle": 2}
"""Family -> the task that an id without one means; 4 in the puzzles 3x3 and 4x4."""
FIRST_OBJECT, BALL, CUBE, NEAR = 14, 15, 7, 0.04
"""Where in qpos objects begin after the arm, and the ball after the ant; numbers of a cube; how near counts, in m."""


def default_task(environment: str) -> int:
    """The number of the task that OGBench takes where none is named; `environment` such as `antmaze-large`."""
    return 4 if environment in ("puzzle-3x3", "puzzle-4x4") else DEFAULTS[environment.partition("-")[0]]


def needs(environment: str) -> tuple[str, ...]:
    """What the reward is a function of, beside the observation."""
    family = environment.partition("-")[0]
    return {"puzzle": ("button_states",), "scene": ("qpos", "button_states")}.get(family, ("qpos",))


def width(environment: str) -> int:
    """How many numbers of qpos the reward reads at least."""
    family, _, size = environment.partition("-")
    if family in ("cube", "scene"):
        return FIRST_OBJECT + CUBE * (len(CUBES[size][0]) if size else 1) + (0 if size else 4)
    return BALL + 2 if family == "antsoccer" else 2


def buttons(environment: str) -> int:
    """How many buttons it has."""
    family, _, size = environment.partition("-")
    return len(PUZZLES[size][0]) if family == "puzzle" else len(SCENES[0][1]) if family == "scene" else 0


def rewarded(environment: str, task: int, found: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [N], float32, and whether the task is complete [N], of states with the arrays that it `needs`."""
    family, _, size = environment.partition("-")
    if family in ("cube", "scene", "puzzle"):
        right = np.stack(_things(family, size, task - 1, found), 1)
        return (right.sum(1) - right.shape[1]).astype(np.float32), np.logical_and.reduce(right, 1)
    goal = (SOCCER if family == "antsoccer" else MAZES)[size][task - 1]
    begin = BALL if family == "antsoccer" else 0
    radius = 1.0 if family == "pointmaze" else 0.5
    gaps = found["qpos"][:, begin : begin + 2] - np.asarray(goal, np.float64)
    done = np.linalg.norm(gaps, axis=1) <= radius
    return done.astype(np.float32) - 1, done


def _things(family: str, size: str, goal: int, found: dict[str, Any]) -> list[np.ndarray]:
    """Whether each thing is where the goal has it, a column [N] each."""
    if family == "puzzle":
        return _pressed(found, PUZZLES[size][goal])
    if family == "cube":
        return _placed(found, CUBES[size][goal])
    cube, lights, *slides = SCENES[goal]
    first = FIRST_OBJECT + CUBE + len(lights)  # of the joints of drawer and window, after those of the buttons
    slid = [np.abs(found["qpos"][:, first + index] - value) <= NEAR for index, value in enumerate(slides)]
    return _placed(found, (cube,)) + _pressed(found, lights) + slid


def _placed(found: dict[str, Any], cubes: Any) -> list[np.ndarray]:
    places = [
        found["qpos"][:, begin : begin + 3] for begin in range(FIRST_OBJECT, FIRST_OBJECT + CUBE * len(cubes), CUBE)
    ]
    pairs = zip(places, cubes, strict=True)
    return [np.linalg.norm(place - np.asarray(cube, np.float64), axis=1) <= NEAR for place, cube in pairs]


def _pressed(found: dict[str, Any], lights: str) -> list[np.ndarray]:
    return [found["button_states"][:, index] == int(light) for index, light in enumerate(lights)]
