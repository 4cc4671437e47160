"""Reads the embedded sets: compact safetensors files, checked against the data card."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.data.arrays import Episode, from_episodes
from pogospec.errors import DataError
from pogospec.registry import nearest
from pogospec.types import Dataset, Reference, Space

FOLDER = Path(__file__).parent


@cache
def cards() -> dict[str, Any]:
    """The data card: id -> what the set is, how it was collected, its checksum."""
    return json.loads((FOLDER / "card.json").read_text())


def file_of(dataset_id: str) -> Path:
    """The file that holds a set."""
    return FOLDER / cards()[dataset_id]["file"]


def unpack(columns: dict[str, np.ndarray]) -> list[Episode]:
    """Episodes of the compact layout: one row a step, and the observation after each episode's last step."""
    ends = np.flatnonzero(columns["terminated"] | columns["truncated"]) + 1
    starts = np.concatenate([[0], ends[:-1]])
    return [
        Episode(
            np.concatenate([columns["observations"][a:b], columns["final_observations"][i : i + 1]]),
            *(columns[name][a:b] for name in ("actions", "rewards", "terminated", "truncated")),
        )
        for i, (a, b) in enumerate(zip(starts, ends, strict=True))
    ]


def load_pocket(dataset_id: str) -> Dataset:
    """Load an embedded set; raises DataError for an unknown id or a changed file."""
    from safetensors.numpy import load

    if dataset_id not in cards():
        close = nearest(dataset_id, cards())
        raise DataError(
            f"data.dataset: no embedded set '{dataset_id}', allowed {', '.join(cards())}"
            + (f", did you mean {close}?" if close else "")
        )
    card, file = cards()[dataset_id], file_of(dataset_id)
    if not file.is_file():
        raise DataError(f"{file}: the embedded set '{dataset_id}' is missing; install the package again")
    raw = file.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != card["sha256"]:
        raise DataError(f"{file}: sha256 {digest} differs from the data card; install the package again")
    low, high = tuple(card["low"]), tuple(card["high"])
    transitions = from_episodes(unpack(load(raw)), low, high)
    space = Space(transitions.observations.shape[1], len(low), low, high)
    return Dataset(dataset_id, transitions, space, card["environment"], digest, Reference(**card["reference"]))
