"""D4RL's files, `d4rl/NAME`, read with h5py alone.

The rows are those of D4RL's `qlearning_dataset`, which published scores are trained on: next observations are the raw
next row's, so that every time-out row, whose next row is another episode's, is left out, and the last row of the file.
`terminals` are true terminations. Where a file holds `next_observations` too, D4RL does not read them, and this module
does not either; as a file of its own (`file.py`) it is read with them, and keeps all rows.

Policies are evaluated in Gymnasium's -v4 tasks: they have the models, observations and rewards of gym's -v2, in which
D4RL collected and scored. -v5 changed them: walker2d's foot friction, the healthy reward, ant's observations.

AntMaze is evaluated in D4RL's mazes with D4RL's ant, made from gymnasium-robotics (`tasks/antmaze.py`). In its files a
row at the goal has reward 1 and is a termination, and the trajectory goes on after it, until a time-out ends it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pogospec.data.columns import Columns, edges
from pogospec.data.formats import open_table
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.sources.base import Entry, NotAtHand, Source, header, own_folder
from pogospec.data.sources.file import File
from pogospec.data.staged import Room
from pogospec.data.tables import read_columns
from pogospec.data.tasks import OURS
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError, UsageError
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
    theirs = os.environ.get("D4RL_DATASET_DIR") or "~/.d4rl/datasets"
    return [own_folder(), Path(theirs).expanduser()]


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


class D4RL(Source):
    """Sets of D4RL whose files are in one of the `folders`."""

    label, prefix, form = "D4RL", PREFIX, f"{PREFIX}NAME"
    in_parts = True

    def find(self, dataset_id: str) -> Path:
        """The file of an id; raises DataError for an unknown id, and NotAtHand."""
        if dataset_id not in IDS:
            close = nearest(dataset_id, IDS)
            raise DataError(
                f"data.dataset: no D4RL set '{dataset_id}'" + (f", did you mean {close}?" if close else ".") + " "
                f"Allowed {PREFIX}TASK-BEHAVIOUR-v2 with TASK {', '.join(TASKS)} and BEHAVIOUR {', '.join(BEHAVIORS)}, "
                f"or {ANTMAZE}MAZE-v2 with MAZE {', '.join(MAZES)}; another file of D4RL is read as {File.form}"
            )
        path = file_of(dataset_id)
        if path is None:
            name, (first, second) = file_name(dataset_id), folders()
            how = f"get D4RL's file {name} and put it at {first / name} (or in {second}, or in a folder that "
            raise NotAtHand(dataset_id, f"{how}POGOSPEC_DATA_DIR names)")
        return path

    def read(
        self,
        dataset_id: str,
        environment: str | None = None,
        observe: Sequence[str] | None = None,
        room: Room | None = None,
    ) -> Logged:
        """Read a set; raises DataError as `find` does, and where the file is damaged."""
        path = self.find(dataset_id)
        try:
            with open_table(path) as table:
                columns = read_columns(table, path, following=False, room=room)
        except DataError as error:
            raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
        notes: tuple[str, ...] = ()
        if dataset_id.startswith(ANTMAZE):
            notes = _trajectories(columns)
        elif dataset_id.startswith(f"{PREFIX}ant-"):
            notes = _without_contacts(columns)
        dropped = columns.truncated.copy()
        dropped[-1] = True
        width, own = columns.actions.shape[1], environment_of(dataset_id)
        return Logged(
            dataset_id,
            columns,
            (-1.0,) * width,
            (1.0,) * width,
            "D4RL's: -1 and 1",
            own,
            sha256_of(path),
            path,
            reference_for(own, of_d4rl=True),
            dropped,
            notes,
            of_d4rl=True,
            remedy=f"read the file as {File.form}, which heeds bounds of its own",
        )

    def ids(self) -> list[str]:
        """Sets whose files are at hand."""
        return [dataset_id for dataset_id in IDS if file_of(dataset_id) is not None]

    def describe(self, dataset_id: str) -> Entry:
        """What the header of the file says."""
        file = self.find(dataset_id)
        rows, _ = header(file)
        about = f"D4RL file in {file.parent}"
        return Entry(dataset_id, self.label, environment_of(dataset_id), rows, about, str(file))

    def near(self, dataset_id: str) -> str | None:
        """A set of D4RL that is all but spelt out, at hand or not."""
        return nearest(dataset_id, IDS, cutoff=0.9)

    def fetch(self, dataset_id: str) -> Path:
        """Raises UsageError with where to put the file."""
        known = dataset_id if dataset_id in IDS else f"{PREFIX}hopper-medium-v2"
        name = file_name(known)
        where = f"put {name} at {folders()[0] / name}"
        raise UsageError(f"D4RL's files are not fetched: get them from the D4RL project; for {known} {where}")


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
    state = columns.observations[:, :ANT_STATE]
    columns.observations = state if isinstance(state, np.memmap) else np.ascontiguousarray(state)
    return (f"{count} contact forces, 0 in all rows, are left out of the observations: Ant-v4 has none",)
