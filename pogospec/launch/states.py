"""How far the runs of a sweep or a suite came: what is done, what is left, and what is of other settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pogospec.checking.recorded import reread
from pogospec.data import kept
from pogospec.errors import PogospecError, RunDirectoryError
from pogospec.launch.job import Job
from pogospec.runs.directory import RunDirectory, begun
from pogospec.spec.build import decisive, digest
from pogospec.spec.schema import Spec


class State(NamedTuple):
    """How far a run came."""

    word: Literal["done", "failed", "interrupted", "missing"]
    update: int = 0

    @property
    def left(self) -> bool:
        """Whether something is left to run."""
        return self.word != "done"


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
    if not job.begun:
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
    vacant = path.is_dir() and all(entry.name == ".lock" for entry in path.iterdir())
    if os.path.lexists(path) and not vacant and not begun(path):
        raise RunDirectoryError(f"{path} exists and is no run")


def _changes(run: RunDirectory, spec: Spec) -> list[str]:
    """Values that a run has otherwise than a spec; its defaults are those of today.

    Raises RunDirectoryError where the spec in the run directory was edited.
    """
    same = run.manifest["digest"] in (digest(spec), digest(kept(spec)))
    if same and run.untouched():
        return []
    own = reread(run)[1]
    before, now = (dict(_leaves(decisive(kept(one)))) for one in (own, spec))
    added = "added" in run.manifest and set(spec.seed_numbers) <= set(own.seed_numbers)
    passed = ("about", "seeds") if added else ("about",)
    paths = [p for p in {**before, **now} if before.get(p) != now.get(p) and p.partition("[")[0] not in passed]
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
