"""Transitions in a file, a record a row, for sets that are larger than memory: written in pieces, read by rows.

The file is NumPy's (.npy), its type the columns of `Transitions`. Each step from logged columns to rows is that of
columns.py and arrays.py on a piece, so that rows and statistics are those in memory, bit for bit.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.data.columns import CHUNK, Columns, continues, faults, last_rows, scaled, usable
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.sources.base import Source, own_folder
from pogospec.data.staged import Files
from pogospec.errors import DataError, reason
from pogospec.terminal import say
from pogospec.types import Dataset, Reference, Transitions

LAYOUT = 1
"""Of the folder of a set; another one is written anew."""
ROWS, ABOUT = "rows.npy", "about.json"
MOST = 2**31 - 1
"""Rows that can be told apart by the indices of minibatches."""


def folder_of_rows() -> Path:
    """Where files of rows lie."""
    return own_folder() / "rows"


@dataclass(frozen=True)
class Stored:
    """The rows of a set in their file."""

    file: Path
    episodes: int

    @cached_property
    def rows(self) -> np.ndarray:
        """[N] records, read when they are asked for."""
        return np.load(self.file, mmap_mode="r")

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.rows)

    @property
    def bytes_of_row(self) -> int:
        """What one takes."""
        return self.rows.dtype.itemsize

    def transitions(self) -> Transitions:
        """Columns that read the file."""
        return Transitions(*(self.rows[name] for name in Transitions._fields))

    def pieces(self, *names: str) -> Iterator[list[np.ndarray]]:
        """Some columns, so many rows at once."""
        for begin in range(0, self.count, CHUNK):
            piece = np.array(self.rows[begin : begin + CHUNK])
            yield [np.ascontiguousarray(piece[name]) for name in names]

    def take(self, rows: np.ndarray) -> Transitions:
        """Rows by their numbers, of any shape; read in the order of the file."""
        asked = np.ravel(rows)
        order = np.argsort(asked, kind="stable")
        size, flat = self.bytes_of_row, self.rows.view(np.ndarray).view(np.uint8)
        records = np.empty((len(asked), size), np.uint8)
        records[order] = np.take(flat.reshape(-1, size), asked[order], axis=0)
        found = records.view(self.rows.dtype).reshape(np.shape(rows))
        return Transitions(*(np.ascontiguousarray(found[name]) for name in Transitions._fields))


def load(source: Source, dataset_id: str, asked: dict[str, Any], played: tuple[Any, ...]) -> Dataset:
    """A set whose rows lie in a file, which is written where it is not there yet.

    `asked`: environment and observe, as sources take them; `played`: what `Logged.played_in` takes. Raises DataError
    for data that cannot be used, or cannot be read in parts, and where there is no room for the file.
    """
    if (kind := source.whole(dataset_id)) is not None:
        raise whole(kind)
    files = source.files(dataset_id)
    lasting = source.lasting(dataset_id)
    about = [LAYOUT, version("pogospec"), lasting, asked, [(file.name, sha256_of(file)) for file in files]]
    folder = folder_of_rows() / sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    try:
        if not (folder / ABOUT).is_file():
            _write(source, dataset_id, asked, folder)
    except OSError as error:
        raise DataError(
            f"data.rows: {folder} cannot be written ({reason(error)}); set POGOSPEC_DATA_DIR to a folder "
            "that has room for all rows twice, or data.rows to memory"
        ) from None
    try:
        return _dataset(dataset_id, folder, played)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"data.rows: {folder} is damaged ({error}); remove it, and it is written again") from None


def whole(kind: str) -> DataError:
    """What to say of data that cannot be read in parts."""
    return DataError(
        f"data.rows: found disk, but {kind} are read as a whole, allowed memory; for disk, store them as a Minari "
        "dataset, or in a file .hdf5 or .safetensors"
    )


def _dataset(dataset_id: str, folder: Path, played: tuple[Any, ...]) -> Dataset:
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    stored = Stored(folder / ROWS, about["episodes"])
    about["reference"] = None if about["reference"] is None else Reference(**about["reference"])
    facts = {name: tuple(found) if isinstance(found, list) else found for name, found in about.items()}
    facts = {name: found for name, found in facts.items() if name in Logged._fields}
    logged = Logged(dataset_id, None, bounds="", file=stored.file, **facts)  # type: ignore[arg-type]  # none in memory
    return logged.played_in(*played).with_transitions(stored.transitions())._replace(stored=stored)


def _write(source: Any, dataset_id: str, asked: dict[str, Any], folder: Path) -> None:
    """Write rows and what is known of them, whole or not at all; another process may do the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="part-", dir=folder.parent) as part:
        made, scratch = Path(part) / "made", Path(part) / "scratch"
        made.mkdir()
        scratch.mkdir()
        say(f"note: rows of {dataset_id} are written to {folder / ROWS}, once", error=True)
        found = source.read(dataset_id, **asked, room=Files(scratch))
        episodes = write(found, made / ROWS)
        about = {name: getattr(found, name) for name in ("low", "high", "environment", "sha256", "of_d4rl", "changes")}
        about |= {"reference": None if found.reference is None else found.reference._asdict()}
        about |= {"dataset": dataset_id, "episodes": episodes}
        (made / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        try:
            os.rename(made, folder)
        except OSError:
            if not (folder / ABOUT).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                os.rename(made, folder)


def write(logged: Logged, file: Path) -> int:
    """Write the transitions that `Logged.dataset` would make; how many episodes they are; raises DataError."""
    columns, low, high = logged.columns, logged.low, logged.high
    for fault in faults(columns, low, high, logged.dropped, logged.remedy):
        look = f"look at all of it with: pogospec data inspect {logged.id}"
        raise DataError(f"data.dataset: '{logged.id}': {fault}; {look}")
    ends = last_rows(columns)
    count = int(usable(columns, ends, logged.dropped).sum())
    if count > MOST:
        raise DataError(f"data.dataset: '{logged.id}': found {count:,} rows, allowed {MOST:,}; take a part of them")
    kind = _type_of(columns)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (count,)}
    raw = before = 0  # episodes that are over; that of the row before
    number = -1
    with file.open("wb") as out:
        np.lib.format.write_array_header_2_0(out, header)
        for begin in range(0, len(ends), CHUNK):
            stop = min(begin + CHUNK, len(ends))
            piece = _piece(columns, ends, logged.dropped, slice(begin, min(stop + 1, len(ends))))
            rows, own = _transitions(*piece, stop - begin, low, high)
            own = own + raw
            raw += int(ends[begin:stop].sum())
            if len(own):
                number += number < 0 or int(own[0]) != before
                before, steps = int(own[-1]), np.diff(own, prepend=own[:1]) != 0
                numbers = number + np.cumsum(steps, dtype=np.int32)
                number = int(numbers[-1])
                records = np.empty(len(own), kind)
                for name, column in zip(Transitions._fields, (*rows, numbers), strict=True):
                    records[name] = column
                records.tofile(out)
    return number + 1


def _type_of(columns: Columns) -> np.dtype:
    seen, acted = columns.observations.shape[1:], columns.actions.shape[1:]
    kinds: dict[str, tuple[Any, ...]] = dict.fromkeys(Transitions._fields, (np.float32,))
    kinds |= {"observations": (columns.observations.dtype, seen), "rewards": (columns.rewards.dtype,)}
    kinds |= {"next_observations": (columns.observations.dtype, seen), "episodes": (np.int32,)}
    kinds |= {"actions": (np.float32, acted), "next_actions": (np.float32, acted)}
    return np.dtype([(name, *kind) for name, kind in kinds.items()])


def _piece(
    columns: Columns, ends: np.ndarray, dropped: np.ndarray | None, rows: slice
) -> tuple[Columns, np.ndarray, np.ndarray | None]:

    def part(column: Any) -> Any:
        return None if column is None else np.array(column[rows])

    names = ("observations", "actions", "rewards", "terminated", "truncated", "next_observations", "ends", "unknown")
    return Columns(*(part(getattr(columns, name)) for name in names)), part(ends), part(dropped)


def _transitions(
    columns: Columns, ends: np.ndarray, dropped: np.ndarray | None, count: int, low: Any, high: Any
) -> tuple[list[np.ndarray], np.ndarray]:
    """Columns of the transitions among the first `count` rows, which one more may follow, and their raw episodes."""
    rows = np.flatnonzero(usable(columns, ends, dropped)[:count])
    after, valid = rows + ~ends[rows], continues(columns, ends)[rows]
    terminated = columns.terminated[rows]
    actions = scaled(columns.actions, low, high)
    next_actions = actions[after]
    next_actions[~valid] = 0.0
    seen = columns.observations
    found = [
        seen[rows],
        actions[rows],
        columns.rewards[rows],
        seen[after] if columns.next_observations is None else columns.next_observations[rows],
        terminated,
        columns.truncated[rows] | (ends[rows] & ~terminated),
        next_actions,
        valid,
    ]
    return found, (np.cumsum(ends) - ends)[rows]
