"""What every data source yields: logged columns, their action bounds and where they came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pogospec.data.columns import REMEDY, Columns, faults, to_transitions
from pogospec.data.gym import quiet
from pogospec.data.tasks import Played, make, replaced
from pogospec.data.tasks.references import reference_for
from pogospec.errors import DataError, TaskError
from pogospec.types import Dataset, Reference, Space, Transitions


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
    notes: tuple[str, ...] = ()  # what the reader left out, and what a user should know
    of_d4rl: bool = False  # whether scores in D4RL's own task are D4RL-normalised
    changes: tuple[str, ...] = ()  # rows that the reader changed
    remedy: str = REMEDY  # what to do about wrong action bounds

    def faults(self) -> list[str]:
        """What keeps the data from being trained on."""
        return list(faults(self.columns, self.low, self.high, self.dropped, self.remedy))

    def task_fault(self) -> DataError | None:
        """What keeps policies from being evaluated in the environment, which training refuses before it begins."""
        if self.environment is None:
            return None
        space = Space(self.columns.observations.shape[1], self.columns.actions.shape[1], self.low, self.high)
        played = None
        with quiet():
            try:
                played = Played(self.environment, 1, space)
                played.probe(0)
            except DataError as error:
                return error
            finally:
                if played is not None:
                    played.close()
        return None

    def played_in(
        self, environment: str | None, arguments: dict[str, Any] | None = None, limit: int | None = None
    ) -> Logged:
        """The same data, evaluated in another environment, or with other arguments or time limit; None: as they say."""
        other = replaced(self.environment, environment, arguments, limit)
        if other is None or other == self.environment:
            return self
        return self._replace(environment=other, reference=reference_for(other, self.of_d4rl))

    def dataset(self) -> Dataset:
        """The dataset to train on; uses the columns up; raises DataError for data that cannot be used."""
        try:
            transitions = to_transitions(self.columns, self.low, self.high, self.dropped, self.remedy)
        except DataError as error:
            look = f"look at all of it with: pogospec data inspect {self.id}"
            raise DataError(f"data.dataset: '{self.id}': {error}; {look}") from None
        return self.with_transitions(transitions)

    def with_transitions(self, transitions: Transitions) -> Dataset:
        """The dataset that these transitions of the data make."""
        space = Space(transitions.observations.shape[1], len(self.low), self.low, self.high)
        return Dataset(self.id, transitions, space, self.environment, self.sha256, self.reference, self.changes)


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
