"""A run to be, and one that failed: what sweeps and suites are made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from pogospec.checking.trackers import with_trackers
from pogospec.spec.resolve import Document
from pogospec.spec.schema import Spec


class Job(NamedTuple):
    """One run of a suite or a sweep; `method` is how it is called beside its dataset."""

    method: str
    dataset: str
    document: Document
    spec: Spec
    path: Path

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.method} on {self.dataset}"

    @property
    def updates(self) -> int:
        """Updates of all steps."""
        return sum(step.spent for step in self.spec.schedule.in_turn)

    def tracked(self, track: str | None) -> Job:
        """The same with the trackers of `--track`, where it is given; raises UsageError."""
        document = with_trackers(self.document, track)
        return self if track is None else self._replace(document=document, spec=document.spec or self.spec)

    @property
    def begun(self) -> bool:
        """Whether there is a run to go on with; a process that is killed early leaves none."""
        return os.path.lexists(self.path / "manifest.json")


class Failure(NamedTuple):
    """A run that failed, and what was said."""

    job: Job
    message: str
