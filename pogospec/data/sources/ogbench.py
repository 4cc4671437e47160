"""OGBench's single tasks, `ogbench/NAME`, from the files that the package ogbench keeps; read without that package.

A file holds the trajectories of a scripted policy, T + 1 rows each, of which `terminals` marks the last: its
observation is the next one of the row before; what follows it is not known, so that it is left out, as OGBench's loader
does. Rewards and completions are those of the task that the id names, worked out of `qpos` and `button_states` (see
`singletask.py`); the five tasks of an environment, and its default one, share a file. A row that completes the task is
a termination (`masks` is 0 in OGBench), and the trajectory goes on after it. In OGBench's compact format `valids` is 0
in the last rows.

Policies are evaluated in OGBench's environment (extra `ogbench`), and scored by their rate of success in percent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.data.columns import edges
from pogospec.data.formats import Table, open_table, table_of
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.sources.base import Entry, NotAtHand, Source, own_folder
from pogospec.data.tables import read_columns
from pogospec.data.tasks import OGBENCH, SINGLE
from pogospec.data.tasks.references import reference_for
from pogospec.data.tasks.singletask import buttons, default_task, needs, rewarded, width
from pogospec.errors import DataError, UsageError
from pogospec.registry import nearest

PREFIX = "ogbench/"
PLACE = "https://rail.eecs.berkeley.edu/datasets/ogbench"
"""Where the package ogbench downloads its files from."""
MAZES, SCRIPTS = ("medium", "large", "giant", "teleport"), ("play", "noisy")
SETS = {
    "pointmaze": (MAZES, ("navigate", "stitch")),
    "antmaze": (MAZES, ("navigate", "stitch", "explore")),
    "humanoidmaze": (MAZES[:3], ("navigate", "stitch")),
    "antsoccer": (("arena", "medium"), ("navigate", "stitch")),
    "cube": (("single", "double", "triple", "quadruple"), SCRIPTS),
    "scene": (("",), SCRIPTS),
    "puzzle": (("3x3", "4x4", "4x5", "4x6"), SCRIPTS),
}
"""Family -> its sizes, and the policies that collected sets of it."""
ENVIRONMENTS = {
    f"{family}-{size}".rstrip("-"): [kind for kind in kinds if (family, size, kind) != ("antmaze", "giant", "explore")]
    for family, (sizes, kinds) in SETS.items()
    for size in sizes
}
"""Environment -> the policies that collected sets of it."""
TASKS = ("", *(f"-task{number}" for number in range(1, 6)))
IDS = [
    f"{PREFIX}{environment}-{kind}{SINGLE}{task}-v0"
    for environment, kinds in ENVIRONMENTS.items()
    for kind in kinds
    for task in TASKS
]


def parts(dataset_id: str) -> tuple[str, str, int]:
    """Environment, policy that collected, and number of the task, of one of `IDS`."""
    name, _, task = dataset_id.removeprefix(PREFIX).removesuffix("-v0").partition(SINGLE)
    environment, _, kind = name.rpartition("-")
    return environment, kind, int(task.removeprefix("-task") or default_task(environment))


def file_name(dataset_id: str) -> str:
    """The name that OGBench gives the file of one of `IDS`."""
    environment, kind, _ = parts(dataset_id)
    return f"{environment}-{kind}-v0.npz"


def environment_of(dataset_id: str) -> str:
    """The task in which one of `IDS` is evaluated."""
    environment, _, task = parts(dataset_id)
    return f"{OGBENCH}{environment}{SINGLE}-task{task}-v0"


def folders() -> list[Path]:
    """Folders that are searched: that of this package, then OGBench's own."""
    theirs = os.environ.get("OGBENCH_DATASET_DIR") or "~/.ogbench/data"
    return [own_folder(), Path(theirs).expanduser()]


def file_of(dataset_id: str) -> Path | None:
    """The file of one of `IDS`, in a folder or its sub-folder `ogbench`; None where it is not at hand."""
    name = file_name(dataset_id)
    places = [place / name for folder in folders() for place in (folder, folder / "ogbench")]
    return next((place for place in places if place.is_file()), None)


class OGBench(Source):
    """Sets of OGBench whose files are in one of the `folders`, each under the id of one of its tasks."""

    label, prefix, form = "OGBench", PREFIX, f"{PREFIX}NAME"

    def find(self, dataset_id: str) -> Path:
        """The file of an id; raises DataError for an unknown id, and NotAtHand."""
        if dataset_id not in IDS:
            raise DataError(f"data.dataset: {_unknown(dataset_id)}")
        path = file_of(dataset_id)
        if path is None:
            name, (first, second) = file_name(dataset_id), folders()
            places = f"{second / name} (or at {first / name}; OGBENCH_DATASET_DIR and POGOSPEC_DATA_DIR name folders)"
            raise NotAtHand(dataset_id, f"get {PLACE}/{name} and put it at {places}")
        return path

    def read(self, dataset_id: str, environment: str | None = None, observe: Sequence[str] | None = None) -> Logged:
        """Read a set; raises DataError as `find` does, and where the file is damaged."""
        path = self.find(dataset_id)
        name, _, task = parts(dataset_id)
        try:
            with open_table(path) as table:
                arrays = _arrays(table, path, name)
            rewards, done = rewarded(name, task, arrays)
            last = arrays["valids"] == 0 if "valids" in arrays else arrays["terminals"]
            kept = {key: arrays[key] for key in ("observations", "actions")}
            columns = read_columns(
                table_of(path, kept | {"rewards": rewards, "terminals": done, "timeouts": last}), path, following=False
            )
        except DataError as error:
            raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
        columns.ends = columns.truncated.copy()
        dropped = columns.truncated.copy()
        dropped[-1] = True
        episodes, own = edges(columns).episodes, environment_of(dataset_id)
        reached, complete = len(np.unique(episodes[done & ~dropped])), int((done & ~dropped).sum())
        note = (
            f"{reached:,} of {episodes[-1] + 1:,} trajectories complete task {task} somewhere; all {complete:,} rows "
            "that do are terminations, and are trained on as OGBench's loader has them"
        )
        bound = (1.0,) * columns.actions.shape[1]
        return Logged(
            dataset_id,
            columns,
            tuple(-one for one in bound),
            bound,
            "OGBench's: -1 and 1",
            own,
            sha256_of(path),
            path,
            reference_for(own),
            dropped,
            (note,),
            remedy="get the file again",
        )

    def ids(self) -> list[str]:
        """Tasks whose files are at hand."""
        return [dataset_id for dataset_id in IDS if file_of(dataset_id) is not None]

    def describe(self, dataset_id: str) -> Entry:
        """What the header of the file says."""
        file = self.find(dataset_id)
        try:
            with open_table(file) as table:
                rows = table.rows("terminals")
        except DataError:
            rows = None
        return Entry(
            dataset_id, self.label, environment_of(dataset_id), rows, f"OGBench file in {file.parent}", str(file)
        )

    def near(self, dataset_id: str) -> str | None:
        """A task of OGBench that is all but spelt out, at hand or not."""
        return nearest(dataset_id, IDS, cutoff=0.9)

    def fetch(self, dataset_id: str) -> Path:
        """Raises UsageError with how to get the file."""
        known = dataset_id if dataset_id in IDS else f"{PREFIX}antmaze-large-navigate{SINGLE}-v0"
        name, place = file_name(known), folders()[1]
        raise UsageError(
            f"OGBench's files are not fetched; for {known} run: curl --create-dirs -o {place / name} {PLACE}/{name}"
        )


def _unknown(dataset_id: str) -> str:
    """What to say of an id that is none of `IDS`."""
    name = dataset_id.removeprefix(PREFIX)
    if name.startswith(("visual-", "powderworld-")):
        return f"'{dataset_id}' observes pixels, which no network here takes; choose one that observes a state"
    single = f"{PREFIX}{name.removesuffix('-v0')}{SINGLE}-v0"
    if SINGLE not in name and single in IDS:
        rest = "its default task, or one of task1 to task5 behind it"
        return f"'{dataset_id}' has goals in the place of rewards; did you mean {single}, {rest}?"
    close = nearest(dataset_id, IDS)
    forms = "; ".join(f"{one} ({', '.join(kinds)})" for one, kinds in ENVIRONMENTS.items())
    return (
        f"no OGBench set '{dataset_id}'" + (f", did you mean {close}?" if close else ".") + " Allowed "
        f"{PREFIX}ENVIRONMENT-POLICY{SINGLE}-v0, or the same with -task1 to -task5 before its version, and "
        f"as ENVIRONMENT (POLICY): {forms}"
    )


def _arrays(table: Table, path: Path, environment: str) -> dict[str, Any]:
    """The arrays that a task needs; raises DataError for those that are missing or of another shape."""
    wanted = ("observations", "actions", "terminals", *needs(environment))
    missing = [name for name in wanted if name not in table.names]
    if missing:
        raise DataError(
            f"{path}: missing {' and '.join(missing)}; found {', '.join(table.names) or 'none'}, allowed a file as "
            f"OGBench has it, whose rewards come of {' and '.join(needs(environment))}; get it again from {PLACE}"
        )
    found = {name: table.read(name, None) for name in (*wanted, *(one for one in ("valids",) if one in table.names))}
    rows = len(found["observations"])
    least = {"qpos": width(environment), "button_states": buttons(environment)}
    for name, column in found.items():
        shape = f"[{rows}]" if name in ("terminals", "valids") else f"[{rows}, {least.get(name, 1)} or more]"
        flat = name in ("terminals", "valids")
        if (
            column.ndim != (1 if flat else 2)
            or len(column) != rows
            or not flat
            and column.shape[1] < least.get(name, 1)
        ):
            raise DataError(f"{path}: {name} has the shape {list(column.shape)}, allowed {shape}; get it again")
    return found
