"""Which columns data need, under which names, and what else they may say; from a table of them to a dataset.

    observations [N, obs]   actions [N, act]   rewards [N]   terminals [N]   timeouts [N]

in the order in which the steps were taken. `terminals` marks true terminations, `timeouts` time limits and other cuts.
Optional: `next_observations` [N, obs], or `final_observations` [episodes, obs], the observation after the last step of
each episode; `low` and `high`, the action bounds; `environment`, a Gymnasium id. The last three are columns or
attributes of an HDF5 file, arrays of a NumPy file, metadata of a Parquet or safetensors file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pogospec.data.columns import Columns
from pogospec.data.formats import Table, as_numbers, as_text, open_table, table_of
from pogospec.data.logged import Logged, action_bounds, sha256_of
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError
from pogospec.registry import nearest

NAMES = {
    "observations": ("observations",),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminated": ("terminals", "terminations", "terminated"),
    "truncated": ("timeouts", "truncations", "truncated"),
}
"""Column -> the names under which files hold it."""
WRONG = {
    "observations": ("obs", "states", "state"),
    "actions": ("act", "acts"),
    "rewards": ("rews", "rew", "r"),
    "terminated": ("dones", "done", "is_terminal", "ends"),
    "truncated": ("time_outs", "time_limits"),
}
"""Column -> names that other projects give it."""
LOW, HIGH, ENVIRONMENT = ("low", "action_low"), ("high", "action_high"), ("environment", "env_id")
Bounds = tuple[Sequence[float], Sequence[float]]


class Stated(NamedTuple):
    """What data say of themselves beside their columns; None where they say nothing."""

    low: list[float] | None
    high: list[float] | None
    environment: str | None


def read_file(path: Path, dataset_id: str, environment: str | None = None, bounds: Bounds | None = None) -> Logged:
    """Read a file of columns under an id; raises DataError.

    Action bounds are `bounds`, else the file's, else those of the environment, else [-1, 1].
    """
    with open_table(path) as table:
        columns, stated = read_columns(table, path), _stated(table)
    return _logged(dataset_id, path, columns, stated, environment, bounds)


def from_arrays(
    dataset_id: str, path: Path, arrays: Mapping[str, Any], environment: str | None = None, bounds: Bounds | None = None
) -> Logged:
    """The dataset of arrays that were read from `path`, by their names, as `read_file` takes columns; raises DataError.

    Scalar columns with numbers, `observation_0`, `observation_1` and so on, make up one column of vectors.
    """
    table = table_of(path, arrays)
    return _logged(dataset_id, path, read_columns(table, path), _stated(table), environment, bounds)


def _logged(
    dataset_id: str, path: Path, columns: Columns, stated: Stated, environment: str | None, bounds: Bounds | None
) -> Logged:
    environment, width = environment or stated.environment, columns.actions.shape[1]
    if bounds is not None:
        where, (low, high) = "given", bounds
    elif stated.low is not None and stated.high is not None:
        where, low, high = "stated in the file", stated.low, stated.high
    elif environment is not None:
        where, (low, high) = f"those of {environment}", action_bounds(environment)
    else:
        where, low, high = "not stated: taken to be -1 and 1", (-1.0,), (1.0,)
    low, high = (tuple(map(float, bound)) * (width if len(bound) == 1 else 1) for bound in (low, high))
    return Logged(dataset_id, columns, low, high, where, environment, sha256_of(path), path, reference_for(environment))


def read_columns(table: Table, path: Path, following: bool = True) -> Columns:
    """The columns of an open file; `following`: next observations too, where it has them; raises DataError."""
    names = _resolve(table.names, path)
    flags = {column: _flags(table, names[column], path) for column in ("terminated", "truncated")}
    rewards = _vector(table.read(names["rewards"], np.float32), names["rewards"], path)
    observations, actions = (_matrix(table, names[column], path) for column in ("observations", "actions"))
    read = {"observations": observations, "actions": actions, "rewards": rewards} | flags
    counts = {names[column]: len(values) for column, values in read.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(f"{path}: found columns of unequal length: {found}; allowed one row a step in each")
    if not len(rewards):
        raise DataError(f"{path}: the columns hold no rows; collect the data again, or choose another file")
    columns = Columns(observations, actions, rewards, **flags)
    if following:
        columns.next_observations = _following(table, columns, path)
    return columns


def _resolve(found: list[str], path: Path) -> dict[str, str]:
    """Column -> its name in the file; raises DataError that names what is missing and what may be meant."""
    names, missing = {}, []
    for column, aliases in NAMES.items():
        present = [alias for alias in aliases if alias in found]
        if len(present) > 1:
            raise DataError(f"{path}: found both {' and '.join(present)}, allowed one of them; remove the other")
        if present:
            names[column] = present[0]
        else:
            missing.append(column)
    if not missing:
        return names
    rest = [name for name in found if name not in names.values()]
    asked = [f"{NAMES[m][0]} (or {', '.join(NAMES[m][1:])})" if NAMES[m][1:] else m for m in missing]
    hints = [hint for column in missing if (hint := _hint(column, rest)) is not None]
    raise DataError(
        f"{path}: missing {'columns' if len(missing) > 1 else 'column'} {' and '.join(asked)}; found "
        f"{', '.join(found) or 'none'}{''.join(f'; {hint}' for hint in dict.fromkeys(hints))}"
    )


def _hint(column: str, rest: list[str]) -> str | None:
    """What to do about a missing column, from the columns that no one asked for."""
    mixed = next((name for name in rest if name.lower() in ("dones", "done")), None)
    if mixed is not None and column in ("terminated", "truncated"):
        return f"'{mixed}' does not tell terminations from time limits: state both, as terminals and timeouts"
    close = next((name for name in rest if name.lower() in WRONG[column]), None)
    close = close or next((name for alias in NAMES[column] if (name := nearest(alias, rest)) is not None), None)
    if close is not None:
        return f"did you mean '{close}'? Rename it to {NAMES[column][0]}"
    return "where no episode was cut, timeouts are all false" if column == "truncated" else None


def _matrix(table: Table, name: str, path: Path) -> np.ndarray:
    column = np.require(table.read(name, np.float32), requirements=["C", "W"])
    if column.ndim != 2 or not column.shape[1]:
        raise DataError(f"{path}: {name} has the shape {list(column.shape)}, allowed [rows, numbers of a step]")
    return column


def _vector(column: np.ndarray, name: str, path: Path) -> np.ndarray:
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1:
        raise DataError(f"{path}: {name} has the shape {list(column.shape)}, allowed [rows]")
    return np.require(column, requirements=["C", "W"])


def _flags(table: Table, name: str, path: Path) -> np.ndarray:
    column = _vector(table.read(name, None), name, path)
    if column.dtype == bool:
        return column
    numbers = column.astype(np.float64)
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(wrong):
        raise DataError(f"{path}: {name} holds {numbers[wrong[0]]:g} in row {wrong[0]}, allowed 0 and 1")
    return numbers == 1


def _following(table: Table, columns: Columns, path: Path) -> np.ndarray | None:
    """Next observations of all rows, where the file has them or the observations after its episodes."""
    shape = columns.observations.shape
    name = next((name for name in ("next_observations", "final_observations") if name in table.names), None)
    if name is None:
        return None
    ends = np.flatnonzero(columns.terminated | columns.truncated)
    column = _matrix(table, name, path)
    wanted = shape if name == "next_observations" else (len(ends), shape[1])
    if column.shape != wanted:
        raise DataError(f"{path}: {name} has the shape {list(column.shape)}, allowed {list(wanted)}")
    if name == "next_observations":
        return column
    following = np.empty_like(columns.observations)
    following[:-1] = columns.observations[1:]
    following[ends] = column
    if not len(ends) or ends[-1] != shape[0] - 1:
        raise DataError(f"{path}: the last row ends no episode, so final_observations lacks one; mark it in timeouts")
    return following


def _stated(table: Table) -> Stated:
    return Stated(_said(table, LOW, as_numbers), _said(table, HIGH, as_numbers), _said(table, ENVIRONMENT, as_text))


def _said(table: Table, names: Iterable[str], read: Any) -> Any:
    """What data say under one of some names, as a column or an attribute; None where they say nothing."""
    for name in names:
        if name in table.attributes:
            return read(table.attributes[name])
        if name in table.names:
            return read(table.read(name, None))
    return None
