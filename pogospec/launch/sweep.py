"""Sweeps: a folder with a run for each cell; cells that differ in numbers alone train together, in one program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pogospec.checking.check import checked_all, located
from pogospec.data import load_for
from pogospec.errors import RunError, UsageError
from pogospec.launch import local
from pogospec.launch.branches import trunks_of, updates_saved
from pogospec.launch.grid import cells_in, record
from pogospec.launch.job import Failure, Job
from pogospec.launch.record import begin, check_data
from pogospec.launch.states import states
from pogospec.launch.view import View
from pogospec.runs.directory import RunDirectory, run_name
from pogospec.spec.branching import branches
from pogospec.spec.build import decisive
from pogospec.spec.resolve import Document
from pogospec.spec.schema import Spec
from pogospec.spec.sweep import cell_title, short_names, value_text
from pogospec.training import hosts
from pogospec.training.decisions import trial_of
from pogospec.types import Dataset

NUMBERS = ("policy", "behavior", "energy", "geometry", "critic", "optimizer", "schedule")
"""Keys whose numbers with a point are leaves of the program."""


def jobs_of(documents: Sequence[Document], folder: Path) -> list[Job]:
    """The runs of a sweep, in the order of its grid; raises SpecError with the mistakes of all cells, each once.

    Where the schedule branches, each cell has a run for each moment.
    """
    checked_all(documents)
    documents = [branch for document in documents for branch in branches(document)]
    specs, jobs = checked_all(documents), []
    for document, spec in zip(documents, specs, strict=True):
        title = cell_title(document.cell)
        jobs.append(Job(title, spec.data.dataset, document, spec, folder / run_name(title)))
    titles = [job.method for job in jobs]
    twice = next((title for title in titles if titles.count(title) > 1), None)
    if twice is not None:
        raise UsageError(f"the sweep has two cells '{twice}', which differ in how a value is written alone; keep one")
    return jobs


def groups_of(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs that train in one program, in the order of the first of each."""
    groups: dict[str, list[Job]] = {}
    for number, job in enumerate(jobs):
        alone = _depends_on_numbers(job.spec)
        groups.setdefault(f"{number}" if alone else _shape(job.spec), []).append(job)
    return list(groups.values())


def about(jobs: Sequence[Job], groups: Sequence[Sequence[Job]]) -> list[tuple[str, str]]:
    """What a plan says of a sweep: its paths with their values, cells and programs."""
    values: dict[str, dict[str, None]] = {}
    for job in jobs:
        for path, value in job.document.cell.items():
            values.setdefault(path, {})[value_text(value)] = None
    lines = [(name, ", ".join(values[path])) for path, name in short_names(list(values)).items()]
    one = "one program" if len(groups) == 1 else f"{len(groups)} programs"
    lines.append(("sweep", f"{len(jobs)} cells in {one}"))
    if any(job.document.trunk is not None for job in jobs):
        own, alone = updates_saved(jobs)
        once = len(trunks_of(jobs))
        what = "what comes before runs once" if once == 1 else f"what comes before runs once for each of {once}"
        lines.append(("branches", f"{what}: {own:,} updates in all, in the place of {alone:,}"))
    return lines


def _depends_on_numbers(spec: Spec) -> bool:
    """Whether the updates of a step depend on what was measured, so that no two cells keep pace."""
    return any(
        any(rule is not None for rule in (step.until, step.repeat_until, step.judge, trial_of(step)))
        for step in spec.schedule.steps
    )


def _shape(spec: Spec) -> str:
    """What decides the program of a spec and its data: all but the leaves of the program."""
    plain = decisive(spec)
    return json.dumps({key: _without_numbers(value) if key in NUMBERS else value for key, value in plain.items()})


def _without_numbers(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _without_numbers(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [_without_numbers(value) for value in plain]
    return "number" if isinstance(plain, float) else plain


def reopen(folder: Path) -> list[Job]:
    """The runs of a sweep that was begun, in the order of its grid; none where the folder holds no sweep."""
    documents = cells_in(folder)
    return jobs_of(documents, folder) if documents else []


def run_sweep(console: Console, jobs: Sequence[Job], device: str) -> list[Failure]:
    """Write the grid down, and run what is not done; cells that fail are returned, and stop no other.

    Raises RunDirectoryError where the folder holds runs of other settings.
    """
    todo = {job.path: state.word for job, state in zip(jobs, states(jobs), strict=True) if state.left}
    record(jobs, jobs[0].path.parent)
    numbers = {job.path: number for number, job in enumerate(jobs)}
    failures = _run_trunks(console, [job for job in jobs if todo.get(job.path) == "missing"], device)
    lost = {failure.job.path for failure in failures}
    for group in apart([job for job in jobs if job.path in todo and job.path not in lost], todo):
        failures += run_group(console, group, [numbers[job.path] for job in group], device)
    return failures


def apart(jobs: Iterable[Job], words: Mapping[Path, str]) -> list[list[Job]]:
    """The groups of jobs, those that failed before apart: they would hold up the others; `words` of their states."""
    split = [
        [job for job in group if (words[job.path] == "failed") == again]
        for group in groups_of(jobs)
        for again in (False, True)
    ]
    return [group for group in split if group]


def _run_trunks(console: Console, jobs: Sequence[Job], device: str) -> list[Failure]:
    """Run what branches that have not begun share; the branches of one that fails are returned."""
    trunks = trunks_of(jobs)
    found = zip(trunks.values(), states([*trunks.values()]), strict=True)
    failed: dict[Path, str] = {}
    for group in groups_of([job for job, state in found if state.left]):
        said = "what the branches share" if len(group) == 1 else f"what the branches share, {len(group)} at once"
        console.print(said, style="bold", highlight=False)
        failed |= {failure.job.path: failure.message for failure in run_group(console, group, [0] * len(group), device)}
    return lost_with(failed, jobs)


def lost_with(failed: Mapping[Path, str], jobs: Sequence[Job]) -> list[Failure]:
    """The branches among jobs whose trunks failed, with the messages of these, by their directories."""
    paths = {job.path: job.path.parent / job.document.trunk.run for job in jobs if job.document.trunk is not None}
    return [
        Failure(job, f"what it branches off from failed: {failed[paths[job.path]]}")
        for job in jobs
        if paths.get(job.path) in failed
    ]


def run_group(console: Console, jobs: Sequence[Job], numbers: Sequence[int], device: str) -> list[Failure]:
    """Begin the runs of a group, or go on with them, in one program from the newest checkpoint that all have."""
    from pogospec.explain import operations, require_memory

    try:
        with located(jobs[0].document):
            data = hosts.agreed(lambda: load_for(jobs[0].spec))
            require_memory([job.spec for job in jobs], data.space, data)
            runs = [_open(job, number, data, device) for job, number in zip(jobs, numbers, strict=True)]
            counts = [] if console.quiet else operations(jobs[0].spec, data.space)
            view = View(console, runs, counts, names=[job.method for job in jobs])
            local.train([job.spec for job in jobs], data, runs, view, resume=True)
    except RunError as error:  # of all cells
        return [Failure(job, str(error)) for job in jobs]
    return [Failure(job, run.status()["message"]) for job, run in zip(jobs, runs, strict=True) if _failed(run)]


def _open(job: Job, number: int, data: Dataset, device: str) -> RunDirectory:
    """The directory of a cell, new or begun."""
    if not job.begun:
        return begin(job, data, device, number)
    run = RunDirectory.open(job.path)
    check_data(run, data)
    return run


def _failed(run: RunDirectory) -> bool:
    return run.status()["state"] == "failed"
