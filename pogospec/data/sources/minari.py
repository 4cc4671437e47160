"""Local Minari datasets, found through MINARI_DATASETS_PATH, and downloads through Minari: nothing else downloads."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pogospec.data import catalog
from pogospec.data.columns import Episode, join
from pogospec.data.gym import quiet
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.sources.base import Entry, NotAtHand, Source
from pogospec.data.tasks import Task, is_antmaze
from pogospec.data.tasks.goals import Goals, refused
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError
from pogospec.terminal import say

ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*-v\d+")
"""How ids are written, with a version at the end."""
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


class Minari(Source):
    """Datasets in Minari's folder; ids that end with a version are Minari's unless they are another source's."""

    label, form, observes = "Minari", "the id of a Minari dataset, NAMESPACE/NAME-vN", True

    def owns(self, dataset_id: str) -> bool:
        """Whether it is written as an id of Minari, or one at hand."""
        return ID.fullmatch(dataset_id) is not None or dataset_id in local_ids()

    def find(self, dataset_id: str) -> Path:
        """The file of a dataset; raises NotAtHand."""
        if dataset_id in local_ids():
            return root() / dataset_id / "data" / "main_data.hdf5"
        close = catalog.near(dataset_id)
        hint = f"; did you mean {close}?" if close else ""
        how = f"et MINARI_DATASETS_PATH to the folder that holds it, or get it with: pogospec data fetch {dataset_id}"
        raise NotAtHand(
            dataset_id,
            f"s{how}{hint}",
            f"data.dataset: '{dataset_id}' is not in {root()}{hint or '.'} Found there: "
            f"{', '.join(local_ids()) or 'no datasets'}. S{how}",
        )

    def read(self, dataset_id: str, environment: str | None = None, observe: Sequence[str] | None = None) -> Logged:
        """Read a dataset; raises DataError as `find` does, and where it is damaged or of an unsupported kind.

        `observe`: which entries of Dict observations make up an observation, in order.
        """
        file = self.find(dataset_id)
        try:
            own = task_in(metadata_of(dataset_id), observe)
            digest = sha256_of(file)
            with quiet():
                space, episodes, goals = _open(dataset_id, observe, is_antmaze(own))
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
        notes = () if goals is None else goals.notes()
        return Logged(
            dataset_id, columns, low, high, "the action space's", own, digest, file, reference_for(own), notes=notes
        )

    def ids(self) -> list[str]:
        """Ids of the local datasets."""
        return local_ids()

    def describe(self, dataset_id: str) -> Entry:
        """What the metadata say."""
        try:
            metadata = metadata_of(dataset_id)
            environment, rows = environment_of(metadata), int(metadata["total_steps"])
        except (OSError, ValueError, KeyError, TypeError):
            environment = rows = None
        about = f"local Minari dataset in {root()}"
        return Entry(dataset_id, self.label, environment, rows, about, str(self.find(dataset_id)))

    def fetch(self, dataset_id: str) -> Path:
        """Download a dataset into Minari's folder; raises DataError in one line where that cannot be done."""
        if dataset_id not in local_ids():
            say(f"asking Minari's server for {dataset_id}", error=True)
            _download(dataset_id)
        return root() / dataset_id


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


def _download(dataset_id: str) -> None:
    """Download through Minari; raises DataError."""
    import minari

    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # else it tells of every retry
    with contextlib.redirect_stdout(sys.stderr), quiet():
        try:
            minari.download_dataset(dataset_id)
        except ImportError:
            raise DataError('Minari downloads with huggingface_hub; pip install "pogospec[fetch]"') from None
        except Exception as error:  # each remote of Minari raises types of its own libraries
            raise _not_fetched(dataset_id, error) from None
    if dataset_id not in local_ids():
        raise DataError(f"'{dataset_id}' was downloaded, but its files are not in {root()}; fetch it again")


def _not_fetched(dataset_id: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if type(error) is ValueError and "Malformed" in reason:
        return DataError(
            f"found '{dataset_id}', allowed the id of a Minari dataset, NAMESPACE/NAME-vN, for example "
            "mujoco/hopper/medium-v0; see what there is with: minari list remote"
        )
    if type(error) is ValueError:  # Minari's own words on unknown names, versions and formats
        return DataError(f"'{dataset_id}' was not downloaded: {reason} See what there is with: minari list remote")
    return DataError(
        f"'{dataset_id}' was not downloaded ({reason[:300]}); try again where Minari's server can be reached, or copy "
        f"the folder {dataset_id} of Minari datasets elsewhere into {root()}"
    )
