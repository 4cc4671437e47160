"""Where columns are put as they are read, part by part: in memory, or in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pogospec.data.columns import kind_of_column, parts
from pogospec.errors import DataError


class Room:
    """Memory: parts of columns, joined when they are taken."""

    in_parts: ClassVar[bool] = False
    """Whether no column is ever held whole."""

    def __init__(self):
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, part: np.ndarray) -> None:
        """Put down further rows of a column."""
        self.parts.setdefault(name, []).append(part)

    def widths(self, name: str) -> list[int]:
        """How many numbers rows of a column have, each count once."""
        return sorted({part.shape[1] for part in self.parts[name]})

    def kind(self, name: str) -> type:
        """The type in which a column is kept."""
        return kind_of_column(self._joined(name))

    def take(self, name: str, kind: Any) -> np.ndarray:
        """A whole column in a type; it is not here any more."""
        with np.errstate(over="ignore", invalid="ignore"):
            joined = self._joined(name)
            del self.parts[name]
            return joined.astype(kind, copy=False)

    def _joined(self, name: str) -> np.ndarray:
        if len(self.parts[name]) > 1:
            self.parts[name] = [np.concatenate(self.parts[name])]
        return self.parts[name][0]


class Files(Room):
    """A folder: each column a file, written as its rows come and read from there, so that memory holds none whole."""

    in_parts: ClassVar[bool] = True

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._shapes: dict[str, set[tuple[int, ...]]] = {}
        self._types: dict[str, np.dtype] = {}

    def add(self, name: str, part: np.ndarray) -> None:
        """Write further rows of a column; raises DataError where their type needs more room than that of the first."""
        part = np.asarray(part)
        kind = self._types.setdefault(name, part.dtype)
        if not np.can_cast(part.dtype, kind, "safe"):
            raise DataError(
                f"the type of {name} changes from {kind} to {part.dtype}, allowed one type where rows stay on the disk"
            )
        self._shapes.setdefault(name, set()).add(part.shape[1:])
        with self._file(name).open("ab") as file:
            np.ascontiguousarray(part, kind).tofile(file)

    def widths(self, name: str) -> list[int]:
        """How many numbers rows of a column have, each count once."""
        return sorted(shape[0] for shape in self._shapes[name])

    def take(self, name: str, kind: Any) -> np.ndarray:
        """A column in a type, an array in its file that can be changed."""
        column = self._joined(name)
        if column.dtype != kind:
            other = self._file(f"{name}.{np.dtype(kind).name}")
            with other.open("wb") as file, np.errstate(over="ignore", invalid="ignore"):
                for part in parts(column):
                    part.astype(kind).tofile(file)
            shape = column.shape
            self._file(name).unlink()
            column = np.memmap(other, kind, "r+", shape=shape)
        return column

    def _joined(self, name: str) -> np.ndarray:
        (shape,), kind = self._shapes[name], self._types[name]
        size = kind.itemsize * int(np.prod(shape))
        rows = self._file(name).stat().st_size // size
        return np.memmap(self._file(name), kind, "r+", shape=(rows, *shape))

    def _file(self, name: str) -> Path:
        return self.folder / name
