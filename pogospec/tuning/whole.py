"""A whole search, for the command and for Python: what is refused before it begins, its trials, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pogospec.checking.at_hand import require
from pogospec.checking.check import checked, located
from pogospec.checking.ranges import require_ranges
from pogospec.checking.trackers import require_trackers
from pogospec.data import load_for
from pogospec.errors import RunError, UsageError
from pogospec.runs.directory import run_name
from pogospec.spec.resolve import Document, Override, read, read_cells
from pogospec.tuning.engine import Pruner, Sampler, require_optuna
from pogospec.tuning.results import Results, results, write
from pogospec.tuning.score import By, by_of, require_scores
from pogospec.tuning.search import FILE, Plan, Search
from pogospec.tuning.trial import Trials


def document_of(spec: str, path: str, given: Sequence[Override]) -> Document:
    """The spec of a search, which was given as `spec`; raises SpecError, DataError and UsageError."""
    document = read(path, given)
    if not document.ranges:
        example = "'tune: {\"schedule.steps[*].tau\": {log: [0.1, 30]}}'"
        raise UsageError(f"{spec} declares nothing to search; give it ranges, such as {example}")
    checked(document)
    require_ranges(path, given, document)
    require_trackers([document])
    require([document])
    require_optuna()
    return document


def plan_of(
    document: Document,
    by: By | None,
    sampler: Sampler,
    pruner: Pruner,
    seed: int | None,
    critics: dict[str, Any],
) -> Plan:
    """The search of a document; `critics`: what is asked of those of fitted Q evaluation, None where nothing is.

    Raises UsageError for a score that the spec has not, and for critics where there are none.
    """
    assert document.spec is not None
    scored = by_of(document.spec, by)
    for name, value in critics.items():
        if value is not None and scored != "fqe":
            raise UsageError(f"--{name.replace('_', '-')}: allowed with --by fqe")
    number = document.spec.seed_numbers[0] if seed is None else seed
    return Plan(document.spec, document.ranges, scored, sampler, pruner, number, **critics)


class Whole:
    """A search of a file in its folder."""

    def __init__(
        self,
        console: Console,
        plan: Plan,
        document: Document,
        path: str,
        given: Sequence[Override],
        out: Path | None,
        trials: int | None,
        device: str,
    ):
        """Begin it, or go on with it; raises DataError, RunError and UsageError before anything is made."""
        self.most = plan.most(trials)
        folder = out or Path("runs") / run_name(plan.spec.name, plan.spec.data.dataset, "tune")
        if not (folder / FILE).is_file():
            with located(document):
                require_scores(plan.spec, load_for(plan.spec), plan.by, plan.pruner != "none")
        self.search = Search(plan, folder)
        self._trials = Trials(console, self.search, lambda cell: read_cells(path, given, cell)[0], device)

    def run(self) -> None:
        """Run the trials that no other process has, until there are enough."""
        while True:
            with self.search.claimed(self.most) as number:
                if number is None:
                    return
                self._trials.run(number, self.most)

    def end(self) -> Results:
        """Write what was found into the folder; raises OSError."""
        found = results(self.search)
        write(self.search, found, self._trials)
        return found


def require_found(found: Results) -> None:
    """Raise RunError where no trial was scored, and none is being run."""
    if found.best is None and not any(trial.state == "running" for trial in found.trials):
        said = next((trial.message for trial in found.trials if trial.message), "there was none")
        raise RunError(f"no trial came to a score: {said}; choose other ranges, and another --out")
