"""What a run records about itself when it begins, and how its directory is made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from pogospec.checking.recorded import identity
from pogospec.data import kept
from pogospec.data.arrays import check_rewards
from pogospec.data.used import check_stored_rewards
from pogospec.errors import UsageError
from pogospec.launch import branches
from pogospec.launch.job import Job
from pogospec.runs.directory import RunDirectory
from pogospec.runs.versions import versions
from pogospec.spec.build import digest, dump
from pogospec.spec.schema import Spec
from pogospec.types import Dataset


def new_run(
    spec: Spec,
    dataset: Dataset,
    out: Path,
    device: str,
    cell: dict[str, Any] | None = None,
    number: int = 0,
    among: Sequence[int] | None = None,
    more: dict[str, Any] | None = None,
) -> RunDirectory:
    """Create the run directory of a spec, or of cell `number` of a sweep, which sets the values in `cell`.

    `among`: the seeds of the run that its seeds are to be added to, theirs too.
    `more`: further entries of the manifest.

    Its spec names the data by a path that leads there from anywhere. Raises DataError where its rewards cannot be
    trained on, TooLargeError where it needs more memory than there is, TaskError where its task cannot be made, and
    RunDirectoryError; none is left behind then.
    """
    from pogospec.explain import require_memory
    from pogospec.training.rollout import Evaluator

    spec = kept(spec)
    if dataset.stored is None:
        check_rewards(dataset.transitions, spec.data.reward)
    else:
        check_stored_rewards(dataset.stored, spec.data.reward)
    require_memory([spec], dataset.space, dataset)
    if dataset.environment is not None:
        with closing(Evaluator(dataset.environment, 1, spec.evaluate.seed, dataset.space)) as evaluator:
            evaluator.check()
    terms = sorted({name for step in spec.schedule.steps for name in step.energy or {}})
    about = manifest(spec, dataset, device) | ({"sweep": cell, "cell": number} if cell else {}) | (more or {})
    about |= {} if among is None else {"among": list(among)}
    return RunDirectory.create(out, dump(spec), about, terms)


def begin(job: Job, dataset: Dataset, device: str, number: int = 0) -> RunDirectory:
    """Create the run directory of a job, of a sweep that of cell `number`; see `new_run`.

    A branch begins with what its trunk had, whose directory must be there.
    """
    run = new_run(job.spec, dataset, job.path, device, job.document.cell, number, more=branches.about(job.document))
    if job.document.trunk is not None:
        branches.begin_with(run, job.document.trunk)
    return run


def manifest(spec: Spec, dataset: Dataset, device: str) -> dict[str, Any]:
    """What a run records about itself."""
    return {
        "name": spec.name,
        "digest": digest(spec),
        "identity": identity(spec, dataset.sha256),
        "dataset": spec.data.dataset,
        "data_sha256": dataset.sha256,
        "environment": dataset.environment,
        "reference": None if dataset.reference is None else dataset.reference._asdict(),
        "data_changes": list(dataset.changes),
        "seeds": spec.seed_count,
        **({} if spec.seed_numbers == tuple(range(spec.seed_count)) else {"seed_numbers": list(spec.seed_numbers)}),
        "episodes": spec.evaluate.episodes,
        "action": spec.evaluate.action,
        "evaluation_seed": spec.evaluate.seed,
        "device": device,
        "started": datetime.now().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions(),
    }


def moved(run: RunDirectory) -> list[str]:
    """Packages whose version is another one than when the run began."""
    before, now = run.manifest["versions"], versions()
    return [f"{name} was {before[name]}, is {now[name]}" for name in before if before[name] != now.get(name)]


def check_data(run: RunDirectory, dataset: Dataset) -> None:
    """Raise UsageError where the data of a run are no longer those that it began with."""
    if dataset.sha256 != run.manifest["data_sha256"]:
        raise UsageError(f"{dataset.id}: the data changed since the run began; run the spec again")
