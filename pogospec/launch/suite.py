"""What a suite still has to run, how long that takes, and running it: a folder with a run for each spec and dataset.

suite.json   the runs of the suite, in the order of its file
times.csv    how long stretches of updates took, see `forecast.py`
NAME-DATASET a run directory, as `pogospec run` makes it
"""

from __future__ import annotations

import fnmatch
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from rich.console import Console

from pogospec.checking.check import checked, checked_all, located
from pogospec.data import find, load_for
from pogospec.errors import DataError, PogospecError, RunDirectoryError, UsageError
from pogospec.launch.console import execute, go_on, new_run, span
from pogospec.launch.forecast import Forecast, Job
from pogospec.registry import nearest
from pogospec.report.find import PLAN, open_plan
from pogospec.report.scores import final, last_step
from pogospec.runs.directory import RunDirectory, run_name, write_json
from pogospec.spec.build import digest, to_plain
from pogospec.spec.resolve import read
from pogospec.spec.schema import Spec
from pogospec.spec.suite import Suite
from pogospec.training import stop

BEGUN = {"checkpoints", "policies", "spec.yaml", "metrics.csv", "returns.csv", "flow.csv", "status.json"}
"""What a run directory holds before it has a manifest."""


class State(NamedTuple):
    """How far a run came."""

    word: Literal["done", "failed", "interrupted", "missing"]
    update: int = 0


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
    found: dict[str, None] = {}
    for job in jobs:
        if job.spec.target is None:
            try:
                with located(job.document):
                    find(job.dataset)
            except DataError as error:
                found[str(error)] = None
    return list(found)


def states(jobs: Sequence[Job]) -> list[State]:
    """How far each run came; raises RunDirectoryError for all that are of other settings, or damaged."""
    found, wrong = [], []
    for job in jobs:
        try:
            found.append(_state(job))
        except PogospecError as error:
            wrong.append(f"{error}; remove {job.path}, or choose another --out")
    if wrong:
        raise RunDirectoryError("\n".join(wrong))
    return found


def _state(job: Job) -> State:
    if not (job.path / "manifest.json").is_file():
        _refuse_foreign(job.path)
        return State("missing")
    run = RunDirectory.open(job.path)
    changes = _changes(run, job.spec)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise RunDirectoryError(f"{job.path} was run with other settings: {', '.join(changes[:3])}{more}")
    status = run.status()
    word = "interrupted" if status["state"] == "running" else status["state"]
    return State(word, status["update"])


def _refuse_foreign(path: Path) -> None:
    """Refuse a directory that holds something else than the beginning of a run."""
    names = {entry.name.removesuffix(".part") for entry in path.iterdir()} if path.is_dir() else set()
    if names - BEGUN - {"manifest.json"} or (path.exists() and not path.is_dir()):
        raise RunDirectoryError(f"{path} exists and is no run")


def _changes(run: RunDirectory, spec: Spec) -> list[str]:
    """Values that a run has otherwise than a spec; its defaults are those of today."""
    if run.manifest["digest"] == digest(spec):
        return []
    before, now = (dict(_leaves(to_plain(one))) for one in (checked(read(run.path / "spec.yaml")), spec))
    paths = [path for path in {**before, **now} if before.get(path) != now.get(path) and path != "about"]
    return [f"{path} {before.get(path)}, now {now.get(path)}" for path in paths]


def _leaves(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(plain, list):
        for index, value in enumerate(plain):
            yield from _leaves(value, f"{path}[{index}]")
    else:
        yield path, plain


def record(suite: Suite, jobs: Sequence[Job], folder: Path) -> None:
    """Write down what the suite is, for `compare`; raises RunDirectoryError where the folder is of another suite."""
    other = open_plan(folder)
    if other is not None and other.name != suite.name:
        raise RunDirectoryError(f"{folder} holds the suite '{other.name}'; choose another --out")
    runs = [{"run": job.path.name, "method": job.method, "dataset": job.dataset} for job in jobs]
    write_json(folder / PLAN, {"name": suite.name, "about": suite.about, "runs": runs})


class Failure(NamedTuple):
    """A run that failed, and what was said."""

    job: Job
    message: str


def run_all(
    console: Console, jobs: Sequence[Job], found: Sequence[State], device: str, forecast: Forecast
) -> list[Failure]:
    """Run what is not done, one after another; those that fail are returned, and stop nothing."""
    failures, todo = [], [i for i, state in enumerate(found) if state.word != "done"]
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
            said = str(error) if isinstance(error, PogospecError) else f"{type(error).__name__}: {error}"
            failures.append(Failure(job, said))
            console.print(f"failed: {said}", style="red", highlight=False, markup=False, soft_wrap=True)
        finally:
            if (job.path / "manifest.json").is_file():
                reached = RunDirectory.open(job.path).status()["update"]
                forecast.note(job, state.update, reached, time.monotonic() - clock)
            jax.clear_caches()
    return failures


def _run(console: Console, job: Job, state: State, device: str, after: float) -> None:
    """Begin a run, or go on with it; what a killed process left of a beginning is removed."""
    with located(job.document):
        data = load_for(job.spec)
        if state.word != "missing":
            go_on(console, job.spec, data, RunDirectory.open(job.path), after)
            return
        if job.path.exists():
            shutil.rmtree(job.path)
        execute(console, job.spec, data, new_run(job.spec, data, job.path, device), after=after)


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
