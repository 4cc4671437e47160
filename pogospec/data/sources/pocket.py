"""The embedded sets, `pocket/NAME`: compact safetensors files, checked against the data card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pogospec.data.formats import open_table
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.pocket import FOLDER
from pogospec.data.sources.base import Entry, Source
from pogospec.data.staged import Room
from pogospec.data.tables import read_columns
from pogospec.errors import DataError, UsageError
from pogospec.registry import nearest
from pogospec.types import Reference


@cache
def cards() -> dict[str, Any]:
    """The data card: id -> what the set is, how it was collected, its checksum."""
    return json.loads((FOLDER / "card.json").read_text())


def file_of(dataset_id: str) -> Path:
    """The file that holds a set."""
    return FOLDER / cards()[dataset_id]["file"]


class Pocket(Source):
    """Sets that come with the package."""

    label, prefix, shipped = "embedded", "pocket/", True
    in_parts = True

    def find(self, dataset_id: str) -> Path:
        """The file that holds a set; raises DataError for an unknown id, and where it is missing."""
        if dataset_id not in cards():
            close = nearest(dataset_id, cards())
            raise DataError(
                f"data.dataset: no embedded set '{dataset_id}', allowed {', '.join(cards())}"
                + (f", did you mean {close}?" if close else "")
            )
        file = file_of(dataset_id)
        if not file.is_file():
            raise DataError(f"{file}: the embedded set '{dataset_id}' is missing; install the package again")
        return file

    def read(
        self,
        dataset_id: str,
        environment: str | None = None,
        observe: Sequence[str] | None = None,
        room: Room | None = None,
    ) -> Logged:
        """Read an embedded set; raises DataError as `find` does, and for a changed file."""
        file, card = self.find(dataset_id), cards()[dataset_id]
        digest = sha256_of(file)
        if digest != card["sha256"]:
            raise DataError(f"{file}: sha256 {digest} differs from the data card; install the package again")
        with open_table(file) as table:
            columns = read_columns(table, file, room=room)
        low, high, reference = tuple(card["low"]), tuple(card["high"]), Reference(**card["reference"])
        return Logged(dataset_id, columns, low, high, "the data card's", card["environment"], digest, file, reference)

    def ids(self) -> list[str]:
        """All sets, which are always at hand."""
        return list(cards())

    def describe(self, dataset_id: str) -> Entry:
        """What the card says."""
        card, file = cards()[dataset_id], str(file_of(dataset_id))
        return Entry(dataset_id, self.label, card["environment"], card["transitions"], card["about"], file)

    def fetch(self, dataset_id: str) -> Path:
        """Raises UsageError: there is nothing to download."""
        raise UsageError(f"'{dataset_id}' is embedded, or not at all; see: pogospec data list")
