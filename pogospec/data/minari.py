"""Local Minari datasets, found through MINARI_DATASETS_PATH."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.data.arrays import Episode, from_episodes
from pogospec.data.gym import quiet
from pogospec.data.references import reference_for
from pogospec.errors import DataError
from pogospec.registry import nearest
from pogospec.types import Dataset, Space


def root() -> Path:
    """The folder of local Minari datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()


def local_ids() -> list[str]:
    """Ids of the local Minari datasets."""
    files = root().glob("**/data/metadata.json")
    return sorted(file.parent.parent.relative_to(root()).as_posix() for file in files)


def load_minari(dataset_id: str) -> Dataset:
    """Read a local dataset; raises DataError where it is missing, damaged or of an unsupported kind."""
    folder = root() / dataset_id / "data"
    if dataset_id not in local_ids():
        raise _missing(dataset_id)
    file = folder / "main_data.hdf5"
    try:
        metadata = json.loads((folder / "metadata.json").read_text())
        environment = json.loads(metadata["env_spec"])["id"] if metadata.get("env_spec") else None
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        space, episodes = _read(dataset_id)
    except (OSError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise DataError(
            f"data.dataset: '{dataset_id}': {file} or the metadata.json beside it is damaged ({error}); "
            f"get it again with: minari download {dataset_id}"
        ) from None
    low, high = (tuple(float(x) for x in bound.ravel()) for bound in (space.low, space.high))
    try:
        transitions = from_episodes(episodes, low, high)
    except DataError as error:
        raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
    size = Space(transitions.observations.shape[1], len(low), low, high)
    return Dataset(dataset_id, transitions, size, environment, digest, reference_for(environment, dataset_id))


def _read(dataset_id: str) -> tuple[Any, list[Episode]]:
    """The action space and all episodes; raises what h5py and Minari raise, and DataError for other spaces."""
    import gymnasium
    import minari

    with quiet():
        dataset = minari.load_dataset(dataset_id)
        for name in ("observation_space", "action_space"):
            space = getattr(dataset.spec, name)
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise DataError(f"data.dataset: '{dataset_id}' has the {name} {space}, allowed a Box of one dimension")
        return dataset.spec.action_space, [
            Episode(*(np.asarray(c) for c in (e.observations, e.actions, e.rewards, e.terminations, e.truncations)))
            for e in dataset.iterate_episodes()
        ]


def _missing(dataset_id: str) -> DataError:
    known = local_ids()
    close = nearest(dataset_id, known)
    return DataError(
        f"data.dataset: '{dataset_id}' is not in {root()}"
        + (f"; did you mean {close}?" if close else ".")
        + f" Found there: {', '.join(known) or 'no datasets'}. Set MINARI_DATASETS_PATH to the folder that holds it, "
        f"or get it with: minari download {dataset_id}"
    )
