"""What a source of datasets provides: which ids are its, whether a dataset is at hand, and how it is read.

A new source is a subclass of `Source` in a file of its own and a line in `registry.py`; in another package an entry
point of the group `pogospec.kinds`, named `source.NAME`. It gives a `label`, a `prefix`, `find` and `read`:

    class Lines(Source):
        label, prefix, form = "lines", "lines:", "lines:PATH"

        def find(self, dataset_id):
            path = Path(dataset_id.removeprefix(self.prefix))
            if not path.is_file():
                raise NotAtHand(dataset_id, f"{path}: no such file")
            return path

        def read(self, dataset_id, environment=None, observe=None):
            path = self.find(dataset_id)
            return from_arrays(dataset_id, path, {"observations": ..., "actions": ..., ...}, environment)

`tables.from_arrays` makes the dataset of named arrays, `episodes.join` the columns of episodes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pogospec.data.formats import open_table
from pogospec.errors import DataError, UsageError
from pogospec.registry import nearest

if TYPE_CHECKING:
    from pogospec.data.logged import Logged


class NotAtHand(DataError):
    """A dataset that may exist, but not on this machine; `how`: what to do about it, as a clause."""

    def __init__(self, dataset: str, how: str, message: str | None = None):
        self.dataset, self.how = dataset, how
        super().__init__(message or f"data.dataset: '{dataset}' is not at hand; {how}")


class Entry(NamedTuple):
    """A dataset at hand; `rows` is None where its file cannot be read."""

    dataset: str
    source: str
    environment: str | None
    rows: int | None
    about: str
    file: str


class Source:
    """Datasets of one kind: a subclass gives a label, a prefix, `find` and `read`, else what it knows better."""

    label: ClassVar[str]
    """What people call it."""
    prefix: ClassVar[str] = ""
    """How its ids begin, and no others; empty where `owns` tells them apart."""
    form: ClassVar[str] = ""
    """How its ids are written, for people; by default its prefix and NAME."""
    shipped: ClassVar[bool] = False
    """Whether its datasets are on every machine."""
    observes: ClassVar[bool] = False
    """Whether observations may be a Dict, of which `data.observe` chooses entries."""
    in_parts: ClassVar[bool] = False
    """Whether `read` takes a `room` (staged.py), into which it puts columns as they come, and holds none whole."""

    def owns(self, dataset_id: str) -> bool:
        """Whether an id is of this source, wherever the dataset may be."""
        return bool(self.prefix) and dataset_id.startswith(self.prefix)

    def files(self, dataset_id: str) -> list[Path]:
        """The files that say all there is to a dataset; raises as `find` does."""
        return [self.find(dataset_id)]

    def whole(self, dataset_id: str) -> str | None:
        """What is read as a whole alone, for people; None where this dataset can be read in parts."""
        return None if self.in_parts else f"{self.label} datasets"

    def find(self, dataset_id: str) -> Path:
        """The file of a dataset, found without reading its rows.

        Raises NotAtHand where it is missing, DataError where it is damaged or no such dataset can exist; a misspelt id
        is told the nearest (`registry.nearest`).
        """
        raise NotImplementedError

    def read(self, dataset_id: str, environment: str | None = None, observe: Sequence[str] | None = None) -> Logged:
        """Read a dataset as it was logged; raises as `find` does, and DataError for rows that cannot be read.

        `environment`: the Gymnasium id asked for, where action bounds depend on it. `observe`: the entries asked for,
        of a source that `observes`.
        """
        raise NotImplementedError

    def lasting(self, dataset_id: str) -> str:
        """The id that leads to the same dataset from any working directory."""
        return dataset_id

    def ids(self) -> Sequence[str]:
        """Ids of the datasets at hand, as far as they can be listed."""
        return ()

    def describe(self, dataset_id: str) -> Entry:
        """What a list says of one of `ids`; reads it, unless a source knows a shorter way."""
        file = self.find(dataset_id)
        about = f"{self.label} dataset in {file.parent}"
        try:
            found = self.read(dataset_id)
        except DataError:
            return Entry(dataset_id, self.label, None, None, about, str(file))
        return Entry(dataset_id, self.label, found.environment, len(found.columns.rewards), about, str(file))

    def near(self, dataset_id: str) -> str | None:
        """An id of this source that may be meant by one that is not at hand, or nobody's."""
        return nearest(dataset_id, self.ids())

    def fetch(self, dataset_id: str) -> Path:
        """Download a dataset; where it lies then. Raises UsageError where this source downloads nothing."""
        raise UsageError(f"'{dataset_id}' is not fetched; allowed the id of a Minari dataset")


def own_folder() -> Path:
    """The folder of datasets of this package."""
    return Path(os.environ.get("POGOSPEC_DATA_DIR") or "~/.cache/pogospec/datasets").expanduser()


def walk(root: Path, above: tuple[str, ...] = ()) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Folders under a root, with the names of their folders and files; links are followed, but for those that loop.

    Names that are taken out of the list of folders are not entered. `above`: the folders that led here.
    """
    real = os.path.realpath(root)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        folders = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return
    yield root, folders, [entry.name for entry in entries if entry.name not in folders]
    for name in folders:
        yield from walk(root / name, (*above, real))


def header(file: Path) -> tuple[int | None, dict]:
    """Rows of a file of columns and what it says beside them; nothing where it is damaged."""
    try:
        with open_table(file) as table:
            return table.rows("rewards"), table.attributes
    except DataError:
        return None, {}
