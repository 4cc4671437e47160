"""Data: an id leads to a source, a source reads columns as they were logged, and these become one `Dataset`.

sources/    one file a source: which ids are its, whether a dataset is at hand, how it is read
catalog     which source an id is of, and the datasets at hand
logged      what every source yields; columns: its arrays, and the transitions that they make
tables      which columns a file needs; naming: under which names; formats: HDF5, NumPy, Parquet, safetensors
arrays      transitions for the training loop: standardised, with transformed rewards, split
episodes    columns of episodes that come one after another
staged      columns that are put into files as they are read; stored: transitions in a file; used: as in arrays
tasks/      the environments that data are evaluated in, and reference returns
pocket/     the embedded sets, and what collected them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pogospec.data.catalog import at_hand, source_of, sources
from pogospec.data.stored import load as load_stored
from pogospec.data.stored import whole
from pogospec.data.tasks import replaced
from pogospec.spec.schema import Spec
from pogospec.types import Dataset

if TYPE_CHECKING:
    from pogospec.data.logged import Logged


def read(
    dataset_id: str,
    environment: str | None = None,
    observe: Sequence[str] | None = None,
    arguments: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
) -> Logged:
    """Read a dataset as it was logged, from the source that its id is of.

    `environment`: the Gymnasium id for evaluation, in the place of the one that the data name, with its arguments, time
    limit and wrappers. `arguments`, `max_episode_steps`: in the place of those of the data, or of `environment`.
    `observe`: the entries that are observed, where observations are a Dict. Raises DataError.
    """
    asked = _asked(environment, arguments, max_episode_steps)
    found = source_of(dataset_id, observe).read(dataset_id, asked, observe)
    return found.played_in(environment, arguments, max_episode_steps)


def _asked(environment: str | None, arguments: dict[str, Any] | None, limit: int | None) -> str | None:
    """The environment that a source is asked for."""
    return None if environment is None else replaced(None, environment, arguments, limit)


def find(dataset_id: str) -> None:
    """Look whether a dataset is at hand, without reading its rows; raises DataError where it is not."""
    source_of(dataset_id).find(dataset_id)


def find_for(spec: Spec) -> None:
    """Look for the data of a spec as `find` does, and refuse what cannot be asked of their source."""
    if spec.target is None:
        source = source_of(spec.data.dataset, spec.data.observe)
        if spec.data.rows == "disk" and (kind := source.whole(spec.data.dataset)) is not None:
            raise whole(kind)
        source.find(spec.data.dataset)


def load(
    dataset_id: str,
    environment: str | None = None,
    observe: Sequence[str] | None = None,
    arguments: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
) -> Dataset:
    """The transitions of a dataset, as `read` takes it; raises DataError for data that cannot be used."""
    return read(dataset_id, environment, observe, arguments, max_episode_steps).dataset()


def kept(spec: Spec) -> Spec:
    """The same spec, which finds its data from any working directory."""
    dataset_id = spec.data.dataset
    owner = next((source for source in sources() if source.owns(dataset_id)), None) if spec.target is None else None
    return spec if owner is None else replace(spec, data=replace(spec.data, dataset=owner.lasting(dataset_id)))


def load_for(spec: Spec) -> Dataset:
    """The data of a spec; of one with a target, the single state in which its flow runs."""
    from pogospec.data.known import known

    if spec.target is not None:
        return known(spec.target, spec.data.dataset)
    data = spec.data
    if data.rows == "disk":
        played = data.environment, data.arguments, data.max_episode_steps
        asked = {"environment": _asked(*played), "observe": data.observe}
        return load_stored(source_of(data.dataset, data.observe), data.dataset, asked, played)
    return load(data.dataset, data.environment, data.observe, data.arguments, data.max_episode_steps)


def available() -> list[tuple[str, str]]:
    """Ids of the datasets at hand, each with a line about it."""
    return [(entry.dataset, entry.about) for entry in at_hand()]
