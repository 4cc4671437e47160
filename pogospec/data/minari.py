"""Local Minari datasets, found through MINARI_DATASETS_PATH."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pogospec.data.columns import Episode, join
from pogospec.data.goals import Goals, refused
from pogospec.data.gym import quiet
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.references import reference_for
from pogospec.data.tasks import Task, is_antmaze
from pogospec.errors import DataError
from pogospec.registry import nearest

Maze = list[list[int | str]]
KEPT = ("maze_map", "use_contact_forces", "include_cfrc_ext_in_observation")
"""What an AntMaze of the data keeps in evaluation."""


def root() -> Path:
    """The folder of local Minari datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()


def local_ids() -> list[str]:
    """Ids of the local Minari datasets."""
    files = root().glob("**/data/metadata.json")
    return sorted(file.parent.parent.relative_to(root()).as_posix() for file in files)


def metadata_of(dataset_id: str) -> dict[str, Any]:
    """What the files of a local dataset say about it."""
    return json.loads((root() / dataset_id / "data" / "metadata.json").read_text())


def environment_of(metadata: dict[str, Any]) -> str | None:
    """The Gymnasium id that the metadata of a dataset name."""
    return json.loads(metadata["env_spec"])["id"] if metadata.get("env_spec") else None


def task_in(metadata: dict[str, Any], observe: Sequence[str] | None) -> str | None:
    """The task in which a dataset is evaluated: its environment, and of an AntMaze the maze and the time limit."""
    name = environment_of(metadata)
    if name is None:
        return None
    arguments: dict[str, Any] = {}
    if is_antmaze(name):
        own, other = (json.loads(metadata.get(key) or metadata["env_spec"]) for key in ("env_spec", "eval_env_spec"))
        arguments = {key: own["kwargs"][key] for key in KEPT if key in own["kwargs"]}
        if "maze_map" in arguments:
            arguments["maze_map"] = _maze(arguments["maze_map"], other["kwargs"].get("maze_map", []))
        if own.get("max_episode_steps"):
            arguments["max_episode_steps"] = own["max_episode_steps"]
    return str(Task(name, arguments, None if observe is None else tuple(observe)))


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


def find(dataset_id: str, others: Sequence[str] = ()) -> Path:
    """The file of a local dataset; raises DataError where it is missing.

    `others`: ids of other datasets at hand, one of which may be meant where this one is missing.
    """
    if dataset_id not in local_ids():
        raise _missing(dataset_id, others)
    return root() / dataset_id / "data" / "main_data.hdf5"


def load_minari(dataset_id: str, others: Sequence[str] = (), observe: Sequence[str] | None = None) -> Logged:
    """Read a local dataset; raises DataError as `find` does, and where it is damaged or of an unsupported kind.

    `observe`: which entries of Dict observations make up an observation, in order.
    """
    file = find(dataset_id, others)
    try:
        environment = task_in(metadata_of(dataset_id), observe)
        digest = sha256_of(file)
        with quiet():
            space, episodes, goals = _open(dataset_id, observe, is_antmaze(environment))
            columns = join(episodes)
    except DataError as error:
        if str(error).startswith("data.observe"):
            raise
        raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
    except (OSError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise DataError(
            f"data.dataset: '{dataset_id}': {file} or the metadata.json beside it is damaged ({error}); "
            f"remove {file.parent.parent} and get it again with: pogospec data fetch {dataset_id}"
        ) from None
    low, high = (tuple(float(x) for x in bound.ravel()) for bound in (space.low, space.high))
    reference = reference_for(environment, dataset_id)
    notes = () if goals is None else goals.notes()
    return Logged(
        dataset_id, columns, low, high, "the action space's", environment, digest, file, reference, notes=notes
    )


def _open(dataset_id: str, observe: Sequence[str] | None, maze: bool) -> tuple[Any, Iterator[Episode], Goals | None]:
    """The action space, the episodes, and of Dict observations what was made of them; `maze`: of an AntMaze.

    Raises what h5py and Minari raise, and DataError for other spaces.
    """
    import minari
    from gymnasium.spaces import Box, Dict

    dataset = minari.load_dataset(dataset_id)
    space, actions = dataset.spec.observation_space, dataset.spec.action_space
    for name, found in {"observation_space": space, "action_space": actions}.items():
        flat = isinstance(found, Box) and len(found.shape) == 1
        if not flat and not (isinstance(found, Dict) and found is space):
            raise DataError(f"found the {name} {found}, allowed a Box of one dimension")
    logged = (
        Episode(e.observations, e.actions, e.rewards, e.terminations, e.truncations)  # type: ignore[arg-type]
        for e in dataset.iterate_episodes()
    )
    if not isinstance(space, Dict):
        if observe is not None:
            raise refused(observe)
        return actions, logged, None
    goals = Goals(space, observe)
    return actions, (piece for e in logged for piece in (goals.pieces(e) if maze else [goals.flat(e)])), goals


def _missing(dataset_id: str, others: Sequence[str]) -> DataError:
    known = local_ids()
    close = nearest(dataset_id, [*known, *others])
    close = f"file:{dataset_id}" if Path(dataset_id).expanduser().is_file() else close
    return DataError(
        f"data.dataset: '{dataset_id}' is not in {root()}"
        + (f"; did you mean {close}?" if close else ".")
        + f" Found there: {', '.join(known) or 'no datasets'}. Set MINARI_DATASETS_PATH to the folder that holds it, "
        f"or get it with: pogospec data fetch {dataset_id}"
    )
