"""The runs of a page: what each is called there, and how far it came."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.errors import PogospecError
from pogospec.report.reading.find import Plan
from pogospec.report.reading.flow import rows_in
from pogospec.report.reading.names import dataset_names, titles
from pogospec.runs.directory import RunDirectory
from pogospec.runs.manifest import numbers_of
from pogospec.text import line


class Member(NamedTuple):
    """A run of the page; `spec` is the method that it is of, one on each dataset."""

    spec: str
    run: RunDirectory
    manifest: dict[str, Any]
    dataset: str  # what it learned from, or the energy that it knew; of a file its name

    @property
    def seeds(self) -> list[int]:
        """Its seeds, in the order of all columns."""
        return numbers_of(self.manifest)


def members_of(runs: Sequence[RunDirectory], plan: Plan | None) -> list[Member]:
    """The runs with their titles, those of a suite with the names of its methods."""
    names = titles(runs) if plan is None else [plan.runs[run.path.name][0] for run in runs]
    called = dataset_names(run.manifest["dataset"] for run in runs)
    return [
        Member(line(name), run, run.manifest, line(called[run.manifest["dataset"]]))
        for name, run in zip(names, runs, strict=True)
    ]


def renamed(members: Sequence[Member]) -> dict[str, str]:
    """Ids of files, by their paths, the longest first -> what the page calls them, since pages are handed on."""
    found = {member.manifest["dataset"]: member.dataset for member in members}
    whole = {written: name for one, name in found.items() for written in (one, line(one)) if written != name}
    return dict(sorted(whole.items(), key=lambda pair: -len(pair[0])))


class Progress(NamedTuple):
    """How far a run came: its state in words, and updates of all, where its spec tells them."""

    state: str
    message: str
    done: int
    total: int | None


def progress(run: RunDirectory) -> Progress:
    """The state of a run, by its status and the last row of its metrics."""
    status = run.status()
    done = status["update"]
    try:
        done = max([done, *(int(row["total_update"]) for row in rows_in(run, "metrics.csv")[-1:])])
        total = _total(run.path, (run.path / "spec.yaml").stat().st_mtime_ns)
    except (PogospecError, OSError):  # an older spec, or one whose modules are not allowed
        total = None
    return Progress(status["state"], status["message"], done, total)


@functools.lru_cache(maxsize=1024)
def _total(path: Path, _changed: int) -> int:
    """Updates of the spec of a run."""
    from pogospec.checking.recorded import reread

    return sum(step.spent for step in reread(RunDirectory(path))[1].schedule.in_turn)
