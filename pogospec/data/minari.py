"""Local Minari datasets, found through MINARI_DATASETS_PATH."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.data.columns import Episode, join
from pogospec.data.gym import quiet
from pogospec.data.logged import Logged, sha256_of
from pogospec.data.references import reference_for
from pogospec.errors import DataError
from pogospec.registry import nearest


def root() -> Path:
    """The folder of local Minari datasets."""
    return Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()


def local_ids() -> list[str]:
    """Ids of the local Minari datasets."""
    files = root().glob("**/data/metadata.json")
    return sorted(file.parent.parent.relative_to(root()).as_posix() for file in files)


def metadata_of(dataset_id: str) -> dict[str, Any]:
    """What the files of a local dataset say about it."""
    return json.loads((root() / dataset_id / "data" / "metadata.json").read_text())


def environment_of(metadata: dict[str, Any]) -> str | None:
    """The Gymnasium id that the metadata of a dataset name."""
    return json.loads(metadata["env_spec"])["id"] if metadata.get("env_spec") else None


def find(dataset_id: str, others: Sequence[str] = ()) -> Path:
    """The file of a local dataset; raises DataError where it is missing.

    `others`: ids of other datasets at hand, one of which may be meant where this one is missing.
    """
    if dataset_id not in local_ids():
        raise _missing(dataset_id, others)
    return root() / dataset_id / "data" / "main_data.hdf5"


def load_minari(dataset_id: str, others: Sequence[str] = ()) -> Logged:
    """Read a local dataset; raises DataError as `find` does, and where it is damaged or of an unsupported kind."""
    file = find(dataset_id, others)
    try:
        environment = environment_of(metadata_of(dataset_id))
        digest = sha256_of(file)
        with quiet():
            space, episodes = _open(dataset_id)
            columns = join(episodes)
    except DataError as error:
        raise DataError(f"data.dataset: '{dataset_id}': {error}") from None
    except (OSError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise DataError(
            f"data.dataset: '{dataset_id}': {file} or the metadata.json beside it is damaged ({error}); "
            f"remove {file.parent.parent} and get it again with: pogospec data fetch {dataset_id}"
        ) from None
    low, high = (tuple(float(x) for x in bound.ravel()) for bound in (space.low, space.high))
    reference = reference_for(environment, dataset_id)
    return Logged(dataset_id, columns, low, high, "the action space's", environment, digest, file, reference)


def _open(dataset_id: str) -> tuple[Any, Iterator[Episode]]:
    """The action space and the episodes; raises what h5py and Minari raise, and DataError for other spaces."""
    import gymnasium
    import minari

    dataset = minari.load_dataset(dataset_id)
    for name in ("observation_space", "action_space"):
        space = getattr(dataset.spec, name)
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise DataError(f"found the {name} {space}, allowed a Box of one dimension")
    return dataset.spec.action_space, (
        Episode(*(np.asarray(c) for c in (e.observations, e.actions, e.rewards, e.terminations, e.truncations)))
        for e in dataset.iterate_episodes()
    )


def _missing(dataset_id: str, others: Sequence[str]) -> DataError:
    known = local_ids()
    close = nearest(dataset_id, [*known, *others])
    close = f"file:{dataset_id}" if Path(dataset_id).expanduser().is_file() else close
    return DataError(
        f"data.dataset: '{dataset_id}' is not in {root()}"
        + (f"; did you mean {close}?" if close else ".")
        + f" Found there: {', '.join(known) or 'no datasets'}. Set MINARI_DATASETS_PATH to the folder that holds it, "
        f"or get it with: pogospec data fetch {dataset_id}"
    )
