"""A dataset in one file of columns of your own, `file:PATH`; `tables.py` says which columns it needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pogospec.data.formats import FORMATS, IN_PARTS, open_table
from pogospec.data.logged import Logged
from pogospec.data.sources.base import NotAtHand, Source
from pogospec.data.staged import Room
from pogospec.data.tables import check_columns, read_file
from pogospec.errors import DataError, UsageError

PREFIX = "file:"


def path_of(text: str) -> Path:
    """The path that an id names, or a path as it is."""
    return Path(os.path.expanduser(text.removeprefix(PREFIX)))


class File(Source):
    """Files anywhere: each is its own dataset."""

    label, prefix, form = "file", PREFIX, f"{PREFIX}PATH"
    in_parts = True

    def whole(self, dataset_id: str) -> str | None:
        """Files of some kinds."""
        kind = path_of(dataset_id).suffix.lower()
        return None if kind in IN_PARTS or kind not in FORMATS else f"files {kind}"

    def find(self, dataset_id: str) -> Path:
        """The file; raises NotAtHand where it is missing, DataError where it is damaged, or lacks columns."""
        path = path_of(dataset_id)
        try:
            with open_table(path) as table:
                check_columns(table, path)
                return path
        except DataError as error:
            raise _told(dataset_id, error) from None

    def read(
        self,
        dataset_id: str,
        environment: str | None = None,
        observe: Sequence[str] | None = None,
        room: Room | None = None,
    ) -> Logged:
        """Read a file; action bounds are its own, else the environment's, else [-1, 1]; raises as `find` does."""
        try:
            return read_file(path_of(dataset_id), dataset_id, environment, room=room)
        except DataError as error:
            raise _told(dataset_id, error) from None

    def lasting(self, dataset_id: str) -> str:
        """Its absolute path."""
        return f"{PREFIX}{os.path.abspath(path_of(dataset_id))}"

    def near(self, dataset_id: str) -> str | None:
        """A path that lacks its prefix."""
        return f"{PREFIX}{dataset_id}" if os.path.isfile(os.path.expanduser(dataset_id)) else None

    def fetch(self, dataset_id: str) -> Path:
        """Raises UsageError: it is nobody else's."""
        raise UsageError(f"'{dataset_id}' is a file of yours; allowed the id of a Minari dataset")


def _told(dataset_id: str, error: DataError) -> DataError:
    """The same for people who named it in a spec."""
    path = path_of(dataset_id)
    message = f"data.dataset: {error}"
    missing = path.suffix.lower() in FORMATS and not os.path.exists(path)
    return NotAtHand(dataset_id, str(error), message) if missing else DataError(message)
