"""What every data source yields: logged columns, their action bounds and where they came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pogospec.data.columns import Columns, faults, to_transitions
from pogospec.data.gym import quiet
from pogospec.data.tasks import make, task_of
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError, TaskError
from pogospec.types import Dataset, Reference, Space


class Logged(NamedTuple):
    """A dataset before anything is dropped, scaled or refused."""

    id: str
    columns: Columns
    low: tuple[float, ...]
    high: tuple[float, ...]
    bounds: str  # where the action bounds come from
    environment: str | None  # gymnasium id
    sha256: str
    file: Path
    reference: Reference | None
    dropped: np.ndarray | None = None  # [N], bool: rows that the protocol of the source leaves out
    notes: tuple[str, ...] = ()  # what the reader changed
    of_d4rl: bool = False  # whether scores in D4RL's own task are D4RL-normalised

    def faults(self) -> list[str]:
        """What keeps the data from being trained on."""
        return list(faults(self.columns, self.low, self.high))

    def played_in(self, environment: str | None) -> Logged:
        """The same data, evaluated in another environment, of which the same is observed; None: in their own."""
        if environment is None or environment == self.environment:
            return self
        observe = None if self.environment is None else task_of(self.environment).observe
        other = str(task_of(environment)._replace(observe=observe))
        return self._replace(environment=other, reference=reference_for(other, self.of_d4rl))

    def dataset(self) -> Dataset:
        """The dataset to train on; uses the columns up; raises DataError for data that cannot be used."""
        try:
            transitions = to_transitions(self.columns, self.low, self.high, self.dropped)
        except DataError as error:
            look = f"look at all of it with: pogospec data inspect {self.id}"
            raise DataError(f"data.dataset: '{self.id}': {error}; {look}") from None
        space = Space(transitions.observations.shape[1], len(self.low), self.low, self.high)
        return Dataset(self.id, transitions, space, self.environment, self.sha256, self.reference)


def sha256_of(path: Path) -> str:
    """The checksum of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def action_bounds(environment: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The action bounds of an environment; raises DataError where it cannot be made or has no such bounds."""
    import gymnasium

    with quiet():
        try:
            made = make(environment)
        except TaskError as error:
            raise DataError(f"{error}, or state the action bounds in the file") from None
        space = made.action_space
        made.close()
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise DataError(f"the environment '{environment}' has the action space {space}, allowed a Box of one dimension")
    return tuple(space.low.tolist()), tuple(space.high.tolist())
