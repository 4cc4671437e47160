"""What a suite still has to run, how long that takes, and running it: a folder with a run for each spec and dataset.

suite.json   the runs of the suite, in the order of its file
times.csv    how long stretches of updates took, see `forecast.py`
NAME-DATASET a run directory, as `pogospec run` makes it
"""

from __future__ import annotations

import contextlib
import fnmatch
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.console import Console

from pogospec.checking.at_hand import lacks
from pogospec.checking.check import checked_all, located
from pogospec.data import load_for
from pogospec.errors import RunDirectoryError, UsageError
from pogospec.launch.forecast import Forecast
from pogospec.launch.job import Failure, Job
from pogospec.launch.local import message_of
from pogospec.launch.one import execute, go_on
from pogospec.launch.record import begin
from pogospec.launch.states import State
from pogospec.launch.view import span
from pogospec.registry import nearest
from pogospec.report.reading import PLAN, final, last_step, open_plan
from pogospec.runs.directory import RunDirectory, run_name
from pogospec.runs.files import write_json
from pogospec.spec.suite import Suite
from pogospec.training import stop


def jobs_of(suite: Suite, folder: Path) -> list[Job]:
    """The runs of a suite; raises SpecError with the mistakes of all specs, UsageError where they are at odds."""
    specs = checked_all([task.document for task in suite.tasks])
    if len({spec.target is None for spec in specs}) > 1:
        known = next(task.method for task, spec in zip(suite.tasks, specs, strict=True) if spec.target is not None)
        raise UsageError(f"{suite.name}: found a flow on a known energy ({known}) beside runs on data; make two suites")
    jobs = [
        Job(task.method, task.dataset, task.document, spec, folder / run_name(task.method, task.dataset))
        for task, spec in zip(suite.tasks, specs, strict=True)
    ]
    first: dict[Path, Job] = {}
    for job in jobs:
        if first.setdefault(job.path, job) is not job:
            raise UsageError(f"{first[job.path].name} and {job.name} would share {job.path}; rename a spec")
    return jobs


def chosen(jobs: Sequence[Job], patterns: Sequence[str]) -> list[Job]:
    """Those that patterns name: of methods, and of datasets; raises UsageError for a pattern that names neither."""
    methods, datasets = ([*dict.fromkeys(names)] for names in zip(*((j.method, j.dataset) for j in jobs), strict=True))
    wanted: dict[str, set[str]] = {"method": set(), "dataset": set()}
    for pattern in patterns:
        plain = pattern.replace("_", "-")
        own = {name for name in methods if fnmatch.fnmatchcase(name.replace("_", "-"), plain)}
        rows = {name for name in datasets if fnmatch.fnmatchcase(name, pattern)}
        if not own | rows:
            close = nearest(pattern, [*methods, *datasets])
            hint = f"; did you mean {close}?" if close else ""
            raise UsageError(f"--only: found '{pattern}', allowed {', '.join([*methods, *datasets])}{hint}")
        wanted["method"] |= own
        wanted["dataset"] |= rows
    return [j for j in jobs if all(getattr(j, key) in names for key, names in wanted.items() if names)]


def absent(jobs: Sequence[Job]) -> list[str]:
    """What is missing of the data: a message a place that names a dataset which is not at hand."""
    return [str(lack.problem) for lack in lacks(job.document for job in jobs)]


def record(suite: Suite, jobs: Sequence[Job], folder: Path) -> None:
    """Write down what the suite is, for `compare`; raises RunDirectoryError where the folder is of another suite."""
    other = open_plan(folder)
    if other is not None and other.name != suite.name:
        raise RunDirectoryError(f"{folder} holds the suite '{other.name}'; choose another --out")
    runs = [{"run": job.path.name, "method": job.method, "dataset": job.dataset} for job in jobs]
    write_json(folder / PLAN, {"name": suite.name, "about": suite.about, "runs": runs})


def run_all(
    console: Console, jobs: Sequence[Job], found: Sequence[State], device: str, forecast: Forecast
) -> list[Failure]:
    """Run what is not done, one after another; those that fail are returned, and stop nothing."""
    failures, todo = [], [i for i, state in enumerate(found) if state.left]
    for number in todo:
        job, state = jobs[number], found[number]
        after = sum(forecast.left(jobs[i], found[i].update) or 0.0 for i in todo if i > number)
        _announce(console, f"[{number + 1}/{len(jobs)}]", job, state, forecast.left(job, state.update) or 0.0, after)
        clock = time.monotonic()
        try:
            _run(console, job, state, device, after)
            _result(console, job, time.monotonic() - clock)
        except Exception as error:
            if stop.asked():
                raise
            said = message_of(error)
            failures.append(Failure(job, said))
            console.print(f"failed: {said}", style="red", highlight=False, markup=False, soft_wrap=True)
        finally:
            if job.begun:
                with contextlib.suppress(RunDirectoryError, OSError):  # times are good to have, not needed
                    reached = RunDirectory.open(job.path).status()["update"]
                    forecast.note(job, state.update, reached, time.monotonic() - clock)
            jax.clear_caches()
    return failures


def _run(console: Console, job: Job, state: State, device: str, after: float) -> None:
    """Begin a run, or go on with it."""
    with located(job.document):
        data = load_for(job.spec)
        if state.word != "missing":
            go_on(console, job.spec, data, RunDirectory.open(job.path), after)
            return
        execute(console, job.spec, data, begin(job, data, device), after=after)


def _announce(console: Console, place: str, job: Job, state: State, own: float, after: float) -> None:
    resumed = f", from {state.update:,} of {job.updates:,} updates" if state.word != "missing" else ""
    whole = f", {span(own + after)} of all" if after else ""
    text = f"{place} {job.name}{resumed}: about {span(own)}{whole}"
    console.print(text, style="bold", highlight=False, markup=False)


def _result(console: Console, job: Job, seconds: float) -> None:
    """The score of the last step, and how long the run took now."""
    cells = final(RunDirectory.open(job.path))
    label = last_step(cells)
    score = "" if label is None else f"{label} {cells[label]}, "
    console.print(f"done: {score}in {span(seconds)}", highlight=False, markup=False)
