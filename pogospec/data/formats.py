"""Tables of columns in files, HDF5, NumPy, Parquet, safetensors, or in memory; columns are read when asked for."""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pogospec.errors import DataError
from pogospec.registry import nearest

FORMATS = {
    ".hdf5": "HDF5",
    ".h5": "HDF5",
    ".npz": "NumPy",
    ".parquet": "Parquet",
    ".safetensors": "safetensors",
}
IN_PARTS = (".hdf5", ".h5", ".safetensors")
"""Those of which some rows can be read."""
DAMAGED = (zlib.error, zipfile.BadZipFile)
HEADS = {b"\x89HDF\r\n\x1a\n": "HDF5", b"PK\x03\x04": "NumPy (.npz)", b"PAR1": "Parquet", b"\x93NUMPY": "NumPy (.npy)"}
"""How files of a kind begin."""
STANDINS = {
    b"version https://git-lfs": "it is a pointer of Git LFS, and `git lfs pull` fetches what it stands for",
    b"<!doctype html": "it is a web page, as failed downloads leave",
    b"<html": "it is a web page, as failed downloads leave",
}
"""How files begin that are not what their name says, and what they are."""
VECTORS = ("observations", "actions", "next_observations", "final_observations")
"""Columns that hold a vector in each row."""
MOST_NAMES = 1000
"""Columns in groups of an HDF5 file that are looked at."""
NUMBERED = re.compile(r"(observation|action|next_observation)s?_(\d+)")
"""Scalar columns that make up one column of vectors."""


class Table(NamedTuple):
    """An open file: names of its columns, how to read one as a given type (None: as it is), and what else it says."""

    names: list[str]
    read: Callable[[str, Any], np.ndarray]
    rows: Callable[[str], int]
    attributes: dict[str, Any]
    part: Callable[[str, slice], np.ndarray] | None = None  # some rows of a column, where no more need be read


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Open a file by its suffix; raises DataError where it is missing, of another kind, or damaged."""
    kind = FORMATS.get(path.suffix.lower())
    if not os.path.isfile(path):  # of names too long too
        inside = path.parent.glob("*") if os.path.isdir(path.parent) else ()
        beside = [other.name for other in inside if other.suffix.lower() in FORMATS]
        close = nearest(path.name, beside)
        other = "" if kind else f", and '{path.suffix}' is none of the kinds {', '.join(FORMATS)}"
        raise DataError(f"{path}: no such file{other}" + (f"; did you mean {path.parent / close}?" if close else ""))
    if kind is None:
        raise DataError(f"{path}: found a file of kind '{path.suffix}', allowed {', '.join(FORMATS)}")
    opened = {"HDF5": _hdf5, "NumPy": _numpy, "Parquet": _parquet, "safetensors": _safetensors}[kind]
    from safetensors import SafetensorError

    try:
        with opened(path) as table:
            yield table
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, *DAMAGED, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as {kind} ({_why(path, kind, error)}); get it again") from None


def _why(path: Path, kind: str, error: Exception) -> str:
    """Why a file is not of its kind, as far as its beginning tells."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as refused:
        return refused.strerror or "it cannot be opened"
    if not head:
        return "it is empty"
    if stands := next((what for begins, what in STANDINS.items() if head.lower().startswith(begins)), None):
        return stands
    found = next((name for begins, name in HEADS.items() if head.startswith(begins)), None)
    if found not in (None, kind, f"{kind} (.npz)"):
        return f"it is {found}, under a wrong name"
    if isinstance(error, OSError) and error.errno and error.strerror and kind != "HDF5":
        return error.strerror
    if isinstance(error, ValueError) and "pickle" in str(error):
        return "a column holds objects of Python, which nothing opens; store numbers"
    return "it is damaged or cut short"


@contextmanager
def _hdf5(path: Path) -> Iterator[Table]:
    import h5py

    with h5py.File(path) as file:
        names: list[str] = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
        if not names and any(str(name).startswith("episode_") for name in file):
            raise DataError(
                f"{path}: found the episodes of a Minari dataset, allowed columns; give its id as the dataset, with "
                "MINARI_DATASETS_PATH set to the folder that holds it"
            )

        def visit(name: str, item: Any) -> bool | None:
            names.extend([name] if "/" in name and isinstance(item, h5py.Dataset) else [])
            return True if len(names) >= MOST_NAMES else None

        file.visititems(visit)
        attributes = dict(file.attrs) | (dict(file["actions"].attrs) if "actions" in names else {})

        def read(name: str, kind: Any) -> np.ndarray:
            column: Any = file[name]
            return column[()] if kind is None else column.astype(kind)[()]

        def rows(name: str) -> int:
            column: Any = file[name]
            return _length(column.shape)

        def part(name: str, within: slice) -> np.ndarray:
            column: Any = file[name]
            return column[within]

        yield Table(names, read, rows, attributes, part)


def _length(shape: Sequence[int]) -> int:
    """Rows of a column; one of a single number."""
    return shape[0] if len(shape) else 1


@contextmanager
def _numpy(path: Path) -> Iterator[Table]:
    with np.load(path, allow_pickle=False) as file:

        def rows(name: str) -> int:
            with file.zip.open(f"{name}.npy" if f"{name}.npy" in file.zip.namelist() else name) as member:
                first = np.lib.format.read_magic(member)[0] == 1
                header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
                return _length(header(member)[0])

        yield Table(list(file), lambda name, kind: np.asarray(file[name], kind), rows, {})


@contextmanager
def _safetensors(path: Path) -> Iterator[Table]:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:

        def read(name: str, kind: Any) -> np.ndarray:
            return np.asarray(file.get_tensor(name), kind)

        def part(name: str, within: slice) -> np.ndarray:
            return np.asarray(file.get_slice(name)[within])

        names, metadata = list(file.keys()), dict(file.metadata() or {})
        yield Table(names, read, lambda name: _length(file.get_slice(name).get_shape()), metadata, part)


@contextmanager
def _parquet(path: Path) -> Iterator[Table]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f'{path}: Parquet needs pyarrow; pip install "pogospec[parquet]"') from None
    with parquet.ParquetFile(path, memory_map=True) as file:
        groups = _grouped(path, file.schema_arrow.names)
        metadata = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}

        def read(name: str, kind: Any) -> np.ndarray:
            return _parquet_column(file, name, groups[name], kind)

        yield Table(list(groups), read, lambda name: file.metadata.num_rows, metadata)


def table_of(path: Path, arrays: Mapping[str, Any]) -> Table:
    """Arrays by name, read from a file that is closed, as a table; raises DataError for numbers with gaps."""
    groups = _grouped(path, arrays)

    def read(name: str, kind: Any) -> np.ndarray:
        members = groups[name]
        try:
            column = arrays[name] if members == [name] else np.stack([arrays[member] for member in members], 1)
            return np.asarray(column, kind)
        except (ValueError, TypeError):
            raise DataError(f"{path}: {name} is no array of numbers, a row a step; store it as one") from None

    return Table(list(groups), read, lambda name: len(arrays[groups[name][0]]), {})


def renamed(table: Table, columns: Mapping[str, Sequence[str]], hidden: Iterable[str] = ()) -> Table:
    """The same table with columns of other names: name -> the columns it is made of, side by side.

    Columns of scalars become columns of vectors where the name is one of `VECTORS`. Other columns keep their names, but
    for the `hidden`. Raises DataError for columns that do not go together.
    """
    gone = {*columns, *hidden}

    def read(name: str, kind: Any) -> np.ndarray:
        if name not in columns:
            return table.read(name, kind)
        parts = [np.asarray(table.read(source, kind)) for source in columns[name]]
        if name in VECTORS:
            parts = [part[:, None] if part.ndim == 1 else part for part in parts]
        if len(parts) == 1:
            return parts[0]
        if name not in VECTORS:
            raise DataError(
                f"{name}: found {len(parts)} columns, {', '.join(columns[name])}, allowed one, a number a row"
            )
        shapes = ", ".join(f"{source} {list(part.shape)}" for source, part in zip(columns[name], parts, strict=True))
        if any(part.ndim != 2 or len(part) != len(parts[0]) for part in parts):
            raise DataError(f"{name}: found the columns {shapes}, allowed [rows] or [rows, numbers], of as many rows")
        return np.concatenate(parts, 1)

    def rows(name: str) -> int:
        return table.rows(columns[name][0] if name in columns else name)

    return Table([*columns, *(name for name in table.names if name not in gone)], read, rows, table.attributes)


def _grouped(path: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Columns, and what they are made of: themselves, or scalar columns with numbers."""
    groups: dict[str, list[str]] = {}
    for name in names:
        found = NUMBERED.fullmatch(name)
        groups.setdefault(f"{found[1]}s" if found else name, []).append(name)
    return {name: members if members == [name] else _in_order(path, members) for name, members in groups.items()}


def _in_order(path: Path, members: list[str]) -> list[str]:
    """Scalar columns by their numbers, which run from 0 without gaps."""
    numbers = {int(member.rpartition("_")[2]): member for member in members if NUMBERED.fullmatch(member)}
    if len(numbers) != len(members) or sorted(numbers) != list(range(len(members))):
        raise DataError(
            f"{path}: found the columns {', '.join(members)}, allowed either one column of lists or scalar columns "
            "numbered from 0 without gaps"
        )
    return [numbers[index] for index in range(len(members))]


def _parquet_column(file: Any, name: str, members: list[str], kind: Any) -> np.ndarray:
    """A column of scalars or lists as [N] or [N, d]; missing values become NaN."""
    rows, begin, column = file.metadata.num_rows, 0, None
    for batch in file.iter_batches(batch_size=1 << 16, columns=members):
        part = _vectors(name, [batch.column(member) for member in members], members != [name])
        if column is None:
            column = np.empty((rows, *part.shape[1:]), part.dtype if kind is None else kind)
        if part.shape[1:] != column.shape[1:]:
            sizes = sorted({*column.shape[1:], *part.shape[1:]})
            raise DataError(f"the lists of {name} have {sizes} numbers, allowed one size")
        column[begin : begin + len(part)] = part
        begin += len(part)
    return np.empty(0, np.float32) if column is None else column


def _vectors(name: str, arrays: list[Any], numbered: bool) -> np.ndarray:
    import pyarrow

    if numbered:
        return np.stack([array.to_numpy(zero_copy_only=False) for array in arrays], 1)
    (array,) = arrays
    kinds = pyarrow.types
    if kinds.is_list(array.type) or kinds.is_large_list(array.type) or kinds.is_fixed_size_list(array.type):
        sizes = np.unique(array.value_lengths().to_numpy(zero_copy_only=False)).tolist()
        if len(sizes) != 1 or array.null_count:
            missing = f" and {array.null_count} are missing" if array.null_count else ""
            raise DataError(f"the lists of {name} have {sizes} numbers{missing}, allowed one size and none missing")
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), int(sizes[0]))
    return array.to_numpy(zero_copy_only=False)


def as_numbers(value: Any) -> list[float] | None:
    """A list of numbers from an attribute: an array, or JSON text; None where it is neither."""
    try:
        value = json.loads(value) if isinstance(value, (str, bytes)) else value
        return np.atleast_1d(np.asarray(value, np.float64)).ravel().tolist()
    except (ValueError, TypeError):
        return None


def as_text(value: Any) -> str | None:
    """A text from an attribute or a column of one entry; None where it is none."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str) and value else None
