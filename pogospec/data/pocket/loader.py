"""Reads the embedded sets: compact safetensors files, checked against the data card."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from pogospec.data.files import read_columns
from pogospec.data.formats import open_table
from pogospec.data.logged import Logged, sha256_of
from pogospec.errors import DataError
from pogospec.registry import nearest
from pogospec.types import Reference

PREFIX = "pocket/"
FOLDER = Path(__file__).parent


@cache
def cards() -> dict[str, Any]:
    """The data card: id -> what the set is, how it was collected, its checksum."""
    return json.loads((FOLDER / "card.json").read_text())


def file_of(dataset_id: str) -> Path:
    """The file that holds a set."""
    return FOLDER / cards()[dataset_id]["file"]


def find(dataset_id: str) -> Path:
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


def load_pocket(dataset_id: str) -> Logged:
    """Load an embedded set; raises DataError as `find` does, and for a changed file."""
    file, card = find(dataset_id), cards()[dataset_id]
    digest = sha256_of(file)
    if digest != card["sha256"]:
        raise DataError(f"{file}: sha256 {digest} differs from the data card; install the package again")
    with open_table(file) as table:
        columns = read_columns(table, file)
    low, high, reference = tuple(card["low"]), tuple(card["high"]), Reference(**card["reference"])
    return Logged(dataset_id, columns, low, high, "the data card's", card["environment"], digest, file, reference)
