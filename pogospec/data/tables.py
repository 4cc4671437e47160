"""Which columns data need, under which names, and what else they may say; from a table of them to a dataset.

    observations [N, obs]   actions [N, act]   rewards [N]   terminals [N]   timeouts [N]

in the order in which the steps were taken. `terminals` marks true terminations, `timeouts` time limits and other cuts.
Optional: `next_observations` [N, obs], or `final_observations` [episodes, obs], the observation after the last step of
each episode; `low` and `high`, the action bounds; `environment`, a Gymnasium id, with `arguments`, a JSON mapping of
what it was made with, and `max_episode_steps`, its time limit; `ref_min_score` and `ref_max_score`, reference returns
of scores. All but the first two are columns or attributes of an HDF5 file, arrays of a NumPy file, metadata of a
Parquet or safetensors file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pogospec.data.columns import CHUNK, Columns, last_rows, leaks, parts
from pogospec.data.formats import Table, as_numbers, as_text, open_table, renamed, table_of
from pogospec.data.logged import Logged, action_bounds, sha256_of
from pogospec.data.naming import FLAGS, NAMES, NOTHING, OTHERS, Given, Sources, listed, resolve
from pogospec.data.staged import Room
from pogospec.data.tasks import LIMIT, replaced
from pogospec.data.tasks.references import reference_for
from pogospec.data.tasks.references import stated as stated_reference
from pogospec.errors import DataError
from pogospec.registry import nearest
from pogospec.types import Reference

IMPORT = "pogospec data import FILE --id NAME"
LOW, HIGH, ENVIRONMENT = ("low", "action_low"), ("high", "action_high"), ("environment", "env_id")
ARGUMENTS, SCORES = ("arguments", "env_kwargs"), (("ref_min_score",), ("ref_max_score",))
Bounds = tuple[Sequence[float], Sequence[float]]


class Stated(NamedTuple):
    """What data say of themselves beside their columns; None where they say nothing."""

    low: list[float] | None
    high: list[float] | None
    environment: str | None
    reference: Reference | None


def read_file(
    path: Path,
    dataset_id: str,
    environment: str | None = None,
    bounds: Bounds | None = None,
    sources: Sources | None = None,
    limit: int | None = None,
    room: Room | None = None,
) -> Logged:
    """Read a file of columns under an id; raises DataError.

    Action bounds are `bounds`, else the file's, else those of the environment, else [-1, 1]. `sources`: columns that
    the file holds under other names, or as several. `limit`: where the file marks ends of episodes of both kinds as
    terminations, the step of an episode, from 1, at which its end is a time limit. `room`: see `read_columns`.
    """
    with open_table(path) as table:
        given = Given(table.names, sources or {}, limit)
        table = _arranged(table, sources, path) if sources else table
        columns, stated = read_columns(table, path, given=given, room=room), _stated(table, path)
    return _logged(dataset_id, path, columns, stated, environment, bounds)


def from_arrays(
    dataset_id: str, path: Path, arrays: Mapping[str, Any], environment: str | None = None, bounds: Bounds | None = None
) -> Logged:
    """The dataset of arrays that were read from `path`, by their names, as `read_file` takes columns; raises DataError.

    Scalar columns with numbers, `observation_0`, `observation_1` and so on, make up one column of vectors.
    """
    table = table_of(path, arrays)
    try:
        columns = read_columns(table, path)
    except (ValueError, TypeError):
        raise DataError(f"{path}: the columns are no arrays of numbers, a row a step; store them as such") from None
    return _logged(dataset_id, path, columns, _stated(table, path), environment, bounds)


def _logged(
    dataset_id: str, path: Path, columns: Columns, stated: Stated, environment: str | None, bounds: Bounds | None
) -> Logged:
    own, environment, width = stated.environment, environment or stated.environment, columns.actions.shape[1]
    if bounds is not None:
        where, (low, high) = "given", bounds
    elif stated.low is not None and stated.high is not None:
        where, low, high = "stated in the file", stated.low, stated.high
    elif environment is not None:
        where, (low, high) = f"those of {environment}", action_bounds(environment)
    else:
        where, low, high = "not stated: taken to be -1 and 1", (-1.0,), (1.0,)
    low, high = (tuple(map(float, bound)) * (width if len(bound) == 1 else 1) for bound in (low, high))
    reference = stated.reference if stated.reference is not None and environment == own else reference_for(environment)
    found = Logged(dataset_id, columns, low, high, where, environment, sha256_of(path), path, reference)
    return found if columns.unknown is None else found._replace(changes=(leaked(columns.unknown),))


def leaked(rows: np.ndarray) -> str:
    """What to say of rows whose next observations are those of another episode."""
    return (
        f"{rows.sum():,} rows at time limits are left out: their next observation is the first of the next episode, as "
        "in an array that was rolled by a row; store what was observed after the last step, or no next_observations"
    )


def _arranged(table: Table, sources: Sources, path: Path) -> Table:
    """A table whose columns have the names that data need; raises DataError for names that are not there."""
    known, hidden = [*(aliases[0] for aliases in NAMES.values()), *OTHERS], []
    for name, members in sources.items():
        if name not in known:
            close = nearest(name, known)
            hint = f"; did you mean {close}?" if close else ""
            raise DataError(f"{path}: found no use for a column '{name}', allowed {', '.join(known)}{hint}")
        hidden += next((aliases for aliases in NAMES.values() if name in aliases), ())
        for member in members:
            if member not in table.names:
                close = nearest(member, table.names)
                hint = f"; did you mean '{close}'?" if close else ""
                raise DataError(f"{path}: no column '{member}' for {name}; found {listed(table.names)}{hint}")
    return renamed(table, sources, hidden)


def read_columns(
    table: Table, path: Path, following: bool = True, given: Given = NOTHING, room: Room | None = None
) -> Columns:
    """The columns of an open file; `following`: next observations too, where it has them; raises DataError.

    `given`: what is said of it beside. `room`: where all but flags are put as they are read, if that is in parts.
    """
    room = Room() if room is None else room
    names = resolve(table.names, path, given)
    flags = {column: _flags(table, names[column], path) for column in FLAGS if column in names}
    flags = flags if given.limit is None else _told_apart(flags["terminated"], given.limit, path)
    _read(table, names["rewards"], path, room, _vector)
    rewards = room.take(names["rewards"], room.kind(names["rewards"]))
    observations = _matrix(table, names["observations"], path, room)
    actions = _matrix(table, names["actions"], path, room, np.float32)
    read = {"observations": observations, "actions": actions, "rewards": rewards} | flags
    _check_counts({name: len(read[column]) for column, name in names.items()}, path)
    columns = Columns(observations, actions, rewards, **flags)
    if following:
        columns.next_observations = _following(table, columns, path, room)
        found = leaks(columns, last_rows(columns))
        found = None if found is None else found & ~columns.terminated  # others need none
        columns.unknown = found if found is not None and found.any() else None
    return columns


def check_columns(table: Table, path: Path) -> None:
    """Raise DataError where an open file lacks columns, or they have not as many rows; nothing else is read of them."""
    names = resolve(table.names, path).values()
    _check_counts({name: table.rows(name) for name in names}, path)


def _check_counts(counts: Mapping[str, int], path: Path) -> None:
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise DataError(f"{path}: found columns of unequal length: {found}; allowed one row a step in each")
    if not all(counts.values()):
        raise DataError(f"{path}: the columns hold no rows; collect the data again, or choose another file")


def _told_apart(ends: np.ndarray, limit: int, path: Path) -> dict[str, np.ndarray]:
    """Ends of episodes [N] as terminations and time limits: those at step `limit` of their episode, from 1."""
    rows = np.flatnonzero(ends)
    lengths = np.diff(rows, prepend=-1)
    longest = max(int(lengths.max(initial=0)), len(ends) - 1 - int(rows[-1] if len(rows) else -1))
    if longest > limit:
        raise DataError(
            f"{path}: found an episode of {longest:,} steps, allowed {limit:,}, of --max-episode-steps; give the time "
            "limit under which the data were collected"
        )
    truncated = np.zeros(len(ends), bool)
    truncated[rows[lengths == limit]] = True
    return {"terminated": ends & ~truncated, "truncated": truncated}


def _read(
    table: Table, name: str, path: Path, room: Room, checked: Callable[[np.ndarray, str, Path], np.ndarray]
) -> None:
    """Put a column into a room, whole or part by part, each as it is when it was checked."""
    if table.part is None or not room.in_parts:
        room.add(name, checked(table.read(name, None), name, path))
        return
    rows = table.rows(name)
    for begin in range(0, max(rows, 1), CHUNK):
        room.add(name, checked(table.part(name, slice(begin, min(begin + CHUNK, rows))), name, path))


def _matrix(table: Table, name: str, path: Path, room: Room, kind: Any = None) -> np.ndarray:
    """A column of vectors, in the type in which it is kept, or another one."""
    _read(table, name, path, room, _vectors)
    return np.require(room.take(name, room.kind(name) if kind is None else kind), requirements=["C", "W"])


def _vectors(column: np.ndarray, name: str, path: Path) -> np.ndarray:
    raw = _numeric(column, name, path)
    shape = f"{path}: {name} has the shape {list(raw.shape)}"
    if name == "actions" and raw.dtype.kind in "iub" and raw.ndim < 3 and raw[0:1].size == 1:
        most = f"{int(raw.min())} to {int(raw.max())}" if raw.size else "none"
        raise DataError(
            f"{path}: actions holds one whole number a step, {most}: discrete actions, which no policy here has; "
            "allowed vectors of real numbers, so choose data of a task with continuous actions (where these are "
            "continuous, store them as floats)"
        )
    if raw.ndim > 2 and "observations" in name and (raw.ndim > 3 or raw.dtype == np.uint8):
        raise DataError(
            f"{shape}: images, which no network here reads; allowed [rows, numbers of a step], such as the state "
            "behind the image, or the features that an encoder makes of it"
        )
    if raw.ndim == 1:
        how = f"store it as [{len(raw)}, 1], or so: {IMPORT} --column {name}={name}"
        raise DataError(f"{shape}, allowed [rows, numbers of a step]; with one number a step, {how}")
    if raw.ndim != 2 or not raw.shape[1]:
        raise DataError(f"{shape}, allowed [rows, numbers of a step]; flatten what belongs to a step")
    return raw


def _numeric(column: np.ndarray, name: str, path: Path) -> np.ndarray:
    """The column, if it holds numbers."""
    column = np.asarray(column)
    if column.dtype.kind in "fiub":
        return column
    try:
        if column.dtype.kind == "O":  # of numbers and gaps, as Parquet has them
            return column.astype(np.float64)
    except (ValueError, TypeError):
        pass
    kinds = {"U": "text", "S": "text", "M": "dates", "m": "spans of time", "c": "complex numbers"}
    kind = kinds.get(column.dtype.kind, "something else than numbers")
    raise DataError(f"{path}: {name} holds {kind}, allowed numbers")


def _vector(column: np.ndarray, name: str, path: Path) -> np.ndarray:
    column = _numeric(column, name, path)
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


def _following(table: Table, columns: Columns, path: Path, room: Room) -> np.ndarray | None:
    """Next observations of all rows, where the file has them or the observations after its episodes."""
    shape = columns.observations.shape
    name = next((name for name in ("next_observations", "final_observations") if name in table.names), None)
    if name is None:
        return None
    ends = np.flatnonzero(columns.terminated | columns.truncated)
    column = _matrix(table, name, path, room)
    wanted = shape if name == "next_observations" else (len(ends), shape[1])
    if column.shape != wanted:
        raise DataError(f"{path}: {name} has the shape {list(column.shape)}, allowed {list(wanted)}")
    kind = columns.observations.dtype
    if column.dtype != kind:
        for part in parts(column):
            room.add("following", part.astype(kind))
        column = room.take("following", kind)
    if name == "next_observations":
        return column
    place, over = 0, columns.terminated | columns.truncated
    for begin in range(0, len(over), CHUNK):
        here = over[begin : begin + CHUNK]
        after, part = columns.observations[begin + 1 : begin + 1 + len(here)], np.empty((len(here), shape[1]), kind)
        part[: len(after)] = after
        part[here] = column[place : place + here.sum()]
        place += int(here.sum())
        room.add("after", part)
    following = room.take("after", kind)
    if not len(ends) or ends[-1] != shape[0] - 1:
        raise DataError(f"{path}: the last row ends no episode, so final_observations lacks one; mark it in timeouts")
    return following


def _stated(table: Table, path: Path) -> Stated:
    """What a file says of itself; raises DataError for arguments of its environment that cannot be read."""
    environment = _said(table, ENVIRONMENT, as_text)
    if environment is not None:
        text, limit = _said(table, ARGUMENTS, as_text), _said(table, (LIMIT,), as_numbers)
        steps = None if limit is None or len(limit) != 1 or not np.isfinite(limit[0]) else int(limit[0])
        environment = replaced(environment, None, None if text is None else _mapping(text, path), steps)
    low, high = ((_said(table, names, as_numbers) or [None])[0] for names in SCORES)
    reference = stated_reference(low, high, f"ref_min_score and ref_max_score in {path.name}")
    return Stated(_said(table, LOW, as_numbers), _said(table, HIGH, as_numbers), environment, reference)


def _mapping(text: str, path: Path) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    raise DataError(
        f"{path}: arguments holds '{text[:200]}', allowed a JSON mapping of what the environment is made with"
    )


def _said(table: Table, names: Iterable[str], read: Any) -> Any:
    """What data say under one of some names, as a column or an attribute; None where they say nothing."""
    for name in names:
        if name in table.attributes:
            return read(table.attributes[name])
        if name in table.names:
            return read(table.read(name, None))
    return None
