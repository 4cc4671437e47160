"""Data sources; each yields one `Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pogospec.spec.schema import Spec
from pogospec.types import Dataset

if TYPE_CHECKING:
    from pogospec.data.logged import Logged


def read(dataset_id: str, environment: str | None = None, observe: Sequence[str] | None = None) -> Logged:
    """Read a dataset as it was logged: `pocket/…`, `d4rl/…`, `file:PATH`, an imported or a local Minari dataset.

    `environment`: the Gymnasium id for evaluation, in the place of the one that the data name. `observe`: the entries
    that are observed, where observations are a Dict. Raises DataError.
    """
    from pogospec.data import d4rl, files, local, minari
    from pogospec.data.goals import refused
    from pogospec.data.pocket import loader

    if _in_minari(dataset_id):
        return minari.load_minari(dataset_id, local.local_ids(), observe).played_in(environment)
    if observe is not None:
        raise refused(observe)
    if dataset_id.startswith(files.PREFIX):
        return files.load_file(dataset_id, environment)
    if dataset_id.startswith(loader.PREFIX):
        found = loader.load_pocket(dataset_id)
    elif dataset_id.startswith(d4rl.PREFIX):
        found = d4rl.load_d4rl(dataset_id)
    else:
        found = local.load_local(dataset_id)
    return found.played_in(environment)


def _in_minari(dataset_id: str) -> bool:
    """Whether an id is none of the other sources'."""
    from pogospec.data import d4rl, files, local
    from pogospec.data.pocket import loader

    prefixes = (files.PREFIX, loader.PREFIX, d4rl.PREFIX)
    return not dataset_id.startswith(prefixes) and not local.file_of(dataset_id).is_file()


def find(dataset_id: str) -> None:
    """Look whether a dataset is at hand, without reading its rows; raises DataError where it is not."""
    from pogospec.data import d4rl, files, local, minari
    from pogospec.data.pocket import loader

    if dataset_id.startswith(files.PREFIX):
        files.find(dataset_id)
    elif dataset_id.startswith(loader.PREFIX):
        loader.find(dataset_id)
    elif dataset_id.startswith(d4rl.PREFIX):
        d4rl.find(dataset_id)
    elif _in_minari(dataset_id):
        minari.find(dataset_id, local.local_ids())


def load(dataset_id: str, environment: str | None = None, observe: Sequence[str] | None = None) -> Dataset:
    """The transitions of a dataset, as `read` takes it; raises DataError for data that cannot be used."""
    return read(dataset_id, environment, observe).dataset()


def load_for(spec: Spec) -> Dataset:
    """The data of a spec; of one with a target, the single state in which its flow runs."""
    from pogospec.data.known import known

    if spec.target is not None:
        return known(spec.target, spec.data.dataset)
    return load(spec.data.dataset, spec.data.environment, spec.data.observe)


def available() -> list[tuple[str, str]]:
    """Ids of the datasets at hand, each with a line about it."""
    from pogospec.data.catalog import at_hand

    return [(entry.dataset, entry.about) for entry in at_hand()]
