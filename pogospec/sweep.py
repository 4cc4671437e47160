"""Sweeps: a folder with a run for each cell; cells that differ in numbers alone train together, in one program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pogospec import stop
from pogospec.check import checked_all, located
from pogospec.console import execute_all, new_run
from pogospec.data import load_for
from pogospec.errors import PogospecError, RunDirectoryError, UsageError
from pogospec.forecast import Job
from pogospec.runs import RunDirectory, run_name
from pogospec.spec.build import to_plain
from pogospec.spec.resolve import Document, read
from pogospec.spec.schema import Spec
from pogospec.spec.sweep import cell_title
from pogospec.suite import Failure, states
from pogospec.watch import backtracking_of_step

NUMBERS = ("policy", "behavior", "energy", "geometry", "critic", "optimizer", "schedule")
"""Keys whose numbers with a point are leaves of the program."""
CHUNK = "sweep"
"""Key of a manifest: what the sweep set in this cell."""


def jobs_of(documents: Sequence[Document], folder: Path) -> list[Job]:
    """The runs of a sweep, in the order of its grid; raises SpecError with the mistakes of all cells, each once."""
    specs = checked_all(documents)
    jobs = []
    for document, spec in zip(documents, specs, strict=True):
        title = cell_title(document.cell)
        jobs.append(Job(title, spec.data.dataset, document, spec, folder / run_name(title)))
    return jobs


def groups_of(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that train in one program, in the order of the first of each."""
    groups: dict[str, list[Job]] = {}
    for number, job in enumerate(jobs):
        alone = _depends_on_numbers(job.spec)
        groups.setdefault(f"{number}" if alone else _shape(job.spec), []).append(job)
    return list(groups.values())


def _depends_on_numbers(spec: Spec) -> bool:
    """Whether the updates of a step depend on what was measured, so that no two cells keep pace."""
    return any(
        step.until is not None or step.repeat_until is not None or backtracking_of_step(step) is not None
        for step in spec.schedule.steps
    )


def _shape(spec: Spec) -> str:
    """What decides the program of a spec and its data: all but the leaves of the program."""
    plain = to_plain(spec)
    return json.dumps({key: _without_numbers(value) if key in NUMBERS else value for key, value in plain.items()})


def _without_numbers(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _without_numbers(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_without_numbers(value) for value in plain]
    return "number" if isinstance(plain, float) else plain


def reopen(folder: Path) -> list[Job]:
    """The runs of a sweep that was begun, from their directories; none where the folder holds no sweep."""
    jobs = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (path / "manifest.json").is_file() and CHUNK in (manifest := RunDirectory.open(path).manifest):
            document = read(path / "spec.yaml")._replace(cell=manifest[CHUNK])
            jobs.append((manifest["started"], manifest.get("cell", 0), document))
    documents = [document for *_, document in sorted(jobs, key=lambda job: job[:2])]
    return jobs_of(documents, folder) if documents else []


def run_sweep(console: Console, jobs: Sequence[Job], device: str) -> list[Failure]:
    """Run what is not done; cells that fail are returned, and stop no other.

    Raises RunDirectoryError where the folder holds runs of other settings.
    """
    found = dict(zip((job.path for job in jobs), states(jobs), strict=True))
    failures: list[Failure] = []
    for group in groups_of(jobs):
        for failed in (False, True):  # a cell that failed before would hold up the others
            todo = [job for job in group if found[job.path].word not in ("done", *(() if failed else ("failed",)))]
            todo = [job for job in todo if (found[job.path].word == "failed") == failed]
            if todo:
                failures += _run(console, todo, device)
    return failures


def _run(console: Console, jobs: Sequence[Job], device: str) -> list[Failure]:
    """Begin the runs of a group, or go on with them."""
    try:
        with located(jobs[0].document):
            data = load_for(jobs[0].spec)
            runs = []
            for job in jobs:
                if (job.path / "manifest.json").is_file():
                    run = RunDirectory.open(job.path)
                    if data.sha256 != run.manifest["data_sha256"]:
                        raise UsageError(f"{data.id}: the data changed since the run began; run the spec again")
                else:
                    if job.path.exists():
                        shutil.rmtree(job.path)
                    run = new_run(job.spec, data, job.path, device, job.document.cell)
                runs.append(run)
            execute_all(console, [job.spec for job in jobs], data, runs, [job.method for job in jobs])
    except Exception as error:
        if stop.asked() or isinstance(error, (UsageError, RunDirectoryError)):
            raise
        said = str(error) if isinstance(error, PogospecError) else f"{type(error).__name__}: {error}"
        return [Failure(job, said) for job in jobs]
    return [Failure(job, run.status()["message"]) for job, run in zip(jobs, runs, strict=True) if _failed(run)]


def _failed(run: RunDirectory) -> bool:
    return run.status()["state"] == "failed"
