"""D4RL's locomotion files, read with h5py alone.

The rows are those of D4RL's `qlearning_dataset`, which published scores are trained on: next observations are the raw
next row's, so that every time-out row, whose next row is another episode's, is left out, and the last row of the file.
`terminals` are true terminations. Where a file holds `next_observations` too, D4RL does not read them, and this module
does not either; `file:PATH` does, and keeps all rows.

Policies are evaluated in Gymnasium's -v4 tasks: they have the models, observations and rewards of gym's -v2, in which
D4RL collected and scored. -v5 changed them: walker2d's foot friction, the healthy reward, ant's observations.

AntMaze is evaluated in D4RL's mazes with D4RL's ant, made from gymnasium-robotics (`antmaze.py`). In its files a row at
the goal has reward 1 and is a termination, and the trajectory goes on after it, until a time-out ends it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pogospec.data.columns import Columns, edges
from pogospec.data.files import read_columns
from pogospec.data.formats import open_table
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.references import reference_for
from pogospec.data.tasks import OURS
from pogospec.errors import DataError
from pogospec.registry import nearest

PREFIX = "d4rl/"
TASKS = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4", "ant": "Ant-v4"}
BEHAVIORS = ("random", "medium", "medium-replay", "medium-expert", "full-replay", "expert")
MAZES = {
    "umaze": ("UMaze", "u-maze_noisy_multistart_False_multigoal_False"),
    "umaze-diverse": ("UMaze", "u-maze_noisy_multistart_True_multigoal_True"),
    "medium-play": ("Medium", "big-maze_noisy_multistart_True_multigoal_False"),
    "medium-diverse": ("Medium", "big-maze_noisy_multistart_True_multigoal_True"),
    "large-play": ("Large", "hardest-maze_noisy_multistart_True_multigoal_False"),
    "large-diverse": ("Large", "hardest-maze_noisy_multistart_True_multigoal_True"),
}
"""Set of AntMaze -> its maze, and what D4RL calls its file."""
ANTMAZE = f"{PREFIX}antmaze-"
IDS = [f"{PREFIX}{task}-{behavior}-v2" for task in TASKS for behavior in BEHAVIORS]
IDS += [f"{ANTMAZE}{name}-v2" for name in MAZES]
ANT_STATE = 27
"""Observations of ant before its 84 contact forces, which are 0 throughout in D4RL's data and absent in Ant-v4."""


def folders() -> list[Path]:
    """Folders that are searched: that of this package, then D4RL's own."""
    ours = os.environ.get("POGOSPEC_DATA_DIR") or "~/.cache/pogospec/datasets"
    theirs = os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets"
    return [Path(folder).expanduser() for folder in (ours, theirs)]


def file_name(dataset_id: str) -> str:
    """The name that D4RL gives a file: hopper-medium-replay-v2 is in hopper_medium_replay-v2.hdf5."""
    if dataset_id.startswith(ANTMAZE):
        return f"Ant_maze_{_maze_of(dataset_id)[1]}_sparse_fixed.hdf5"
    name, _, version = dataset_id.removeprefix(PREFIX).rpartition("-")
    return f"{name.replace('-', '_')}-{version}.hdf5"


def file_of(dataset_id: str) -> Path | None:
    """The file of an id, in a folder or its sub-folder `d4rl`; None where it is not at hand."""
    name = file_name(dataset_id)
    places = [place / name for folder in folders() for place in (folder, folder / "d4rl")]
    return next((place for place in places if place.is_file()), None)


def _maze_of(dataset_id: str) -> tuple[str, str]:
    return MAZES[dataset_id.removeprefix(ANTMAZE).removesuffix("-v2")]


def environment_of(dataset_id: str) -> str:
    """The task in which an id is evaluated."""
    if dataset_id.startswith(ANTMAZE):
        return f"{OURS}{_maze_of(dataset_id)[0]}-v2"
    return TASKS[dataset_id.removeprefix(PREFIX).partition("-")[0]]


def at_hand() -> list[str]:
    """Ids whose files are at hand."""
    return [dataset_id for dataset_id in IDS if file_of(dataset_id) is not None]


def find(dataset_id: str) -> Path:
    """The file of a `d4rl/` id; raises DataError for an unknown id, and where it is not at hand."""
    if dataset_id not in IDS:
        close = nearest(dataset_id, IDS)
        raise DataError(
            f"data.dataset: no D4RL set '{dataset_id}'" + (f", did you mean {close}?" if close else ".") + " Allowed "
            f"{PREFIX}TASK-BEHAVIOUR-v2 with TASK {', '.join(TASKS)} and BEHAVIOUR {', '.join(BEHAVIORS)}, or "
            f"{ANTMAZE}MAZE-v2 with MAZE {', '.join(MAZES)}; another file of D4RL is read as file:PATH"
        )
    path = file_of(dataset_id)
    if path is None:
        first, second = folders()
        raise DataError(
            f"data.dataset: '{dataset_id}' is not at hand; get D4RL's file {file_name(dataset_id)} and put it at "
            f"{first / file_name(dataset_id)} (or in {second}, or in a folder that POGOSPEC_DATA_DIR names)"
        )
    return path


def load_d4rl(dataset_id: str) -> Logged:
    """Read a `d4rl/` id; raises DataError as `find` does, and where the file is damaged."""
    path = find(dataset_id)
    try:
        with open_table(path) as table:
            columns = read_columns(table, path, following=False)
    except DataError as error:
        raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
    notes: tuple[str, ...] = ()
    if dataset_id.startswith(ANTMAZE):
        notes = _trajectories(columns)
    elif dataset_id.startswith(f"{PREFIX}ant-"):
        notes = _without_contacts(columns)
    dropped = columns.truncated.copy()
    dropped[-1] = True
    width, environment = columns.actions.shape[1], environment_of(dataset_id)
    return Logged(
        dataset_id,
        columns,
        (-1.0,) * width,
        (1.0,) * width,
        "D4RL's: -1 and 1",
        environment,
        sha256_of(path),
        path,
        reference_for(environment, dataset_id),
        dropped,
        notes,
    )


def _trajectories(columns: Columns) -> tuple[str, ...]:
    """Let time-outs alone end episodes of AntMaze, whose rows at the goal are terminations inside a trajectory."""
    columns.ends = columns.truncated.copy()
    episodes = edges(columns).episodes
    reached = np.unique(episodes[columns.terminated])
    return (
        f"{len(reached):,} of {episodes[-1] + 1:,} trajectories reach a goal; all {columns.terminated.sum():,} rows at "
        "one are terminations, and are trained on as D4RL's loader has them",
        "evaluated with D4RL's mazes, starts, goals and ant, by gymnasium-robotics on a newer MuJoCo than D4RL's",
    )


def _without_contacts(columns: Columns) -> tuple[str, ...]:
    """Leave out ant's contact forces where they are all 0, so that observations are those of Ant-v4."""
    if columns.observations.shape[1] <= ANT_STATE or columns.observations[:, ANT_STATE:].any():
        return ()
    count = columns.observations.shape[1] - ANT_STATE
    columns.observations = np.ascontiguousarray(columns.observations[:, :ANT_STATE])
    return (f"{count} contact forces, 0 in all rows, are left out of the observations: Ant-v4 has none",)
