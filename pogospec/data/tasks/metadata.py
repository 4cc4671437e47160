"""What Minari's metadata say of a task: Gymnasium's EnvSpec as JSON, of which nothing is imported, and references."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pogospec.data.tasks.references import stated
from pogospec.data.tasks.task import LIMIT, Task, is_antmaze
from pogospec.types import Reference

Maze = list[list[int | str]]
KEPT = ("maze_map", "use_contact_forces", "include_cfrc_ext_in_observation")
"""What an AntMaze of the data keeps in evaluation."""


def environment_in(metadata: dict[str, Any], key: str = "env_spec") -> dict[str, Any]:
    """What metadata say of an environment, its id among it; empty where they name none; raises ValueError."""
    text = metadata.get(key)
    found = json.loads(text) if isinstance(text, str) and text else text or {}
    if not isinstance(found, dict) or found and not isinstance(found.get("id"), str):
        raise ValueError(f"{key} names no environment")
    return found


def task_in(metadata: dict[str, Any], observe: Sequence[str] | None) -> str | None:
    """The task in which a dataset is evaluated: the one that it names for that, else the one that it was logged in.

    Its arguments, time limit and wrappers are kept, where they are not those that Gymnasium gives it anyway. Of an
    AntMaze the maze and the time limit are. Raises ValueError.
    """
    own = environment_in(metadata)
    other = environment_in(metadata, "eval_env_spec") or own
    if not own and not other:
        return None
    maze = bool(own) and is_antmaze(own["id"])
    spec = own if maze else other
    given = dict(spec.get("kwargs") or {})
    arguments = {key: value for key, value in given.items() if key != "render_mode"}
    if maze:
        arguments = {key: given[key] for key in KEPT if key in given}
        if "maze_map" in arguments:
            arguments["maze_map"] = _maze(arguments["maze_map"], other["kwargs"].get("maze_map", []))
    if spec.get(LIMIT):
        arguments[LIMIT] = spec[LIMIT]
    observed = None if observe is None else tuple(observe)
    if maze:
        return str(Task(spec["id"], arguments, observed))
    wrappers = tuple((str(one["entry_point"]), one.get("kwargs")) for one in spec.get("additional_wrappers") or ())
    return str(Task(spec["id"], _unusual(spec["id"], arguments), observed, wrappers))


def _unusual(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments that are not those which Gymnasium's own environments are registered with."""
    import gymnasium

    known = gymnasium.registry.get(name)
    if known is None or not str(known.entry_point).startswith("gymnasium.envs."):
        return arguments
    usual = {**known.kwargs, LIMIT: known.max_episode_steps}
    return {key: value for key, value in arguments.items() if key not in usual or usual[key] != value}


def _maze(own: Maze, other: Maze) -> Maze:
    """The maze to evaluate in: that of the data where it fixes start and goal, else the one that they name for it.

    Minari's umaze sets name one that is mirrored (Minari issue 304): it is turned back. One with other walls is not
    taken.
    """

    def walls(maze: Maze) -> list[list[bool]]:
        return [[cell == 1 for cell in row] for row in maze]

    fixed = sorted(cell for row in own for cell in row if isinstance(cell, str)) == ["g", "r"]
    allowed = [own] if fixed else [other, [row[::-1] for row in other], own]
    return next(maze for maze in allowed if walls(maze) == walls(own))


def reference_in(metadata: dict[str, Any]) -> Reference | None:
    """The reference returns that a dataset states."""
    return stated(
        metadata.get("ref_min_score"), metadata.get("ref_max_score"), "ref_min_score and ref_max_score of the data"
    )


def about_task(metadata: dict[str, Any]) -> tuple[str, ...]:
    """What to know of the environment that a dataset was logged in."""
    own, other = environment_in(metadata), environment_in(metadata, "eval_env_spec")
    notes = []
    if own and other and own["id"] != other["id"]:
        notes.append(f"logged in {own['id']}; the data name {other['id']} for evaluation")
    place = own.get("entry_point")
    if isinstance(place, str) and not place.startswith(("gymnasium.", "gymnasium_robotics.")):
        notes.append(f"the environment {own['id']} was that of {place}; --allow-module lets a module register it")
    return tuple(notes)
