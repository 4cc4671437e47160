"""Data: an id leads to a source, a source reads columns as they were logged, and these become one `Dataset`.

sources/    one file a source: which ids are its, whether a dataset is at hand, how it is read
catalog     which source an id is of, and the datasets at hand
logged      what every source yields; columns: its arrays, and the transitions that they make
tables      which columns a file needs, under which names; formats: HDF5, NumPy, Parquet, safetensors
arrays      transitions for the training loop: standardised, with transformed rewards, split
tasks/      the environments that data are evaluated in, and reference returns
pocket/     the embedded sets, and what collected them
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pogospec.data.catalog import at_hand, source_of
from pogospec.errors import DataError
from pogospec.spec.schema import Spec
from pogospec.types import Dataset

if TYPE_CHECKING:
    from pogospec.data.logged import Logged


def read(dataset_id: str, environment: str | None = None, observe: Sequence[str] | None = None) -> Logged:
    """Read a dataset as it was logged, from the source that its id is of.

    `environment`: the Gymnasium id for evaluation, in the place of the one that the data name. `observe`: the entries
    that are observed, where observations are a Dict. Raises DataError.
    """
    return source_of(dataset_id, observe).read(dataset_id, environment, observe).played_in(environment)


def find(dataset_id: str) -> None:
    """Look whether a dataset is at hand, without reading its rows; raises DataError where it is not."""
    source_of(dataset_id).find(dataset_id)


def find_for(spec: Spec) -> None:
    """Look for the data of a spec as `find` does, and refuse entries to observe where there is nothing to choose."""
    if spec.target is None:
        source_of(spec.data.dataset, spec.data.observe).find(spec.data.dataset)


def whole_id(dataset_id: str) -> str:
    """The id of a dataset as every working directory understands it."""
    try:
        return source_of(dataset_id).whole_id(dataset_id)
    except DataError:  # of no source at hand
        return dataset_id


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
    return [(entry.dataset, entry.about) for entry in at_hand()]
