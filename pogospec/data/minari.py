"""Local Minari datasets, found through MINARI_DATASETS_PATH."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from pogospec.data.arrays import Episode, from_episodes
from pogospec.data.references import reference_for
from pogospec.errors import DataError
from pogospec.registry import nearest
from pogospec.types import Dataset, Space


def root() -> Path:
    """The folder of local Minari datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()


def local_ids() -> list[str]:
    """Ids of the local Minari datasets."""
    return sorted(str(path.parent.parent.relative_to(root())) for path in root().glob("**/data/metadata.json"))


def load_minari(dataset_id: str) -> Dataset:
    """Read a local dataset; raises DataError where it is missing or damaged."""
    import gymnasium
    import minari

    folder = root() / dataset_id / "data"
    if not (folder / "metadata.json").is_file():
        known = local_ids()
        close = nearest(dataset_id, known)
        raise DataError(
            f"data.dataset: '{dataset_id}' is not in {root()}"
            + (f"; did you mean {close}?" if close else "")
            + f" Found there: {', '.join(known) or 'no datasets'}. Set MINARI_DATASETS_PATH to its folder, "
            f"or get it with: minari download {dataset_id}"
        )
    try:
        metadata = json.loads((folder / "metadata.json").read_text())
        dataset = minari.MinariDataset(folder, np.arange(metadata["total_episodes"]))
        space = dataset.spec.action_space
        if not isinstance(space, gymnasium.spaces.Box):
            raise DataError(f"data.dataset: '{dataset_id}' has actions of type {type(space).__name__}, allowed Box")
        episodes = [
            Episode(e.observations, e.actions, e.rewards, e.terminations, e.truncations)
            for e in dataset.iterate_episodes()
        ]
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"data.dataset: '{dataset_id}': {folder} is damaged ({error}); get it again") from None
    if not isinstance(episodes[0].observations, np.ndarray):
        raise DataError(f"data.dataset: '{dataset_id}' has structured observations, allowed one array")
    low, high = (tuple(float(x) for x in bound.ravel()) for bound in (space.low, space.high))
    environment = json.loads(metadata["env_spec"])["id"] if metadata.get("env_spec") else None
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.hdf5")):
        digest.update(file.read_bytes())
    transitions = from_episodes(episodes, low, high)
    size = Space(transitions.observations.shape[1], len(low), low, high)
    reference = reference_for(environment, dataset_id)
    return Dataset(dataset_id, transitions, size, environment, digest.hexdigest(), reference)
