"""The door `load`: a spec with every problem told at once; and the order in which rules are asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pogospec.checking.base import Problems
from pogospec.checking.behavior import behavior_rules
from pogospec.checking.branching import branch_rules
from pogospec.checking.closed import closed_rules
from pogospec.checking.concurrent import concurrent_rules
from pogospec.checking.critic import critic_rules
from pogospec.checking.endings import ending_rules
from pogospec.checking.evaluation import evaluation_rules
from pogospec.checking.explicit import explicit_rules
from pogospec.checking.judges import judge_rules
from pogospec.checking.known_energy import known_energy_rules
from pogospec.checking.names import name_rules
from pogospec.checking.optimizers import average_rules, optimizer_rules
from pogospec.checking.particles import particle_rules, particle_step_rules
from pogospec.checking.policy import empty_rules, policy_rules
from pogospec.checking.rows import row_rules
from pogospec.checking.step_sizes import doubling_rules, multiplier_rules, trial_rules
from pogospec.checking.trackers import tracker_rules
from pogospec.errors import DataError, Origin, Problem, SpecError, TaskError, UsageError
from pogospec.spec.given import FILE, as_overrides
from pogospec.spec.resolve import DEFAULT, Document, read_cells, read_given
from pogospec.spec.schema import Spec
from pogospec.spec.shipped import spec_path

Overrides = Mapping[str, Any] | Sequence[tuple[Any, ...]]
"""Paths and values, as a mapping or as pairs; text is YAML, as `--set` takes it, and all else is data."""


def load(spec: str | Path | Mapping[str, Any], overrides: Overrides = ()) -> Spec:
    """Read and check a spec: a file, the name of a shipped one, or a mapping as YAML would have it.

    >>> load({"extends": "td3_bc", "schedule": {"defaults": {"tau": 1.5}}}, {"seeds": 3}).seeds
    3

    Raises SpecError with every problem at once, and UsageError for a sweep, which is several specs.
    """
    document = documents(spec, overrides)[0]
    if document.cell:
        name = "the mapping" if isinstance(spec, Mapping) else spec
        raise UsageError(f"{name} declares a sweep over {', '.join(document.cell)}, which `pogospec run` takes")
    return checked(document)


def documents(spec: str | Path | Mapping[str, Any], overrides: Overrides = (), swept: Overrides = ()) -> list[Document]:
    """Every cell of a spec as `load` takes it; raises SpecError where it cannot be read."""
    given, grid = as_overrides(overrides), as_overrides(swept)
    return read_given(spec, given, grid) if isinstance(spec, Mapping) else read_cells(spec_path(spec), given, grid)


def checked(document: Document) -> Spec:
    """The spec of a document; raises SpecError with every problem of the file at once."""
    problems = list(document.problems)
    if document.spec is not None:
        named = {problem.path for problem in problems}
        found = [Problem(_origin(document, where), where, text) for where, text in rules(document.spec, named)]
        # what steps inherit is written once, and said once
        once = {(problem.origin, problem.message): problem for problem in reversed(found)}
        problems += [problem for problem in reversed(once.values()) if problem.path not in named]
    if problems or document.spec is None:
        raise SpecError(problems)
    return document.spec


def checked_all(documents: Sequence[Document]) -> list[Spec]:
    """The specs of all documents; raises SpecError with the problems of all of them, each once."""
    loaded, problems = [], []
    for document in documents:
        try:
            loaded.append(checked(document))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    return loaded


@contextmanager
def located(document: Document) -> Iterator[None]:
    """Say of data and environments that cannot be used where the spec, or the command line, names them."""
    try:
        yield
    except DataError as error:
        error.args = (str(problem_of(document, error)),)
        raise


def problem_of(document: Document, error: DataError) -> Problem:
    """The same mistake with its place in the spec."""
    path, _, message = str(error).partition(": ")
    if path not in document.origins:
        path, message = error.path, str(error)
    if path == TaskError.path and document.origins.get(path, DEFAULT) == DEFAULT:
        path = DataError.path
    return Problem(_origin(document, path), path, message)


def _origin(document: Document, path: str) -> Origin:
    """Where a path was written, or where the nearest enclosing value was."""
    while path:
        origin = document.origins.get(path)
        if origin is not None and origin.file is not None:
            return origin
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return Origin("file", document.source) if document.source == FILE else Origin("file", document.source, 1, 1)


def rules(spec: Spec, told: Collection[str] = ()) -> Problems:
    """Every combination that makes no sense, as (path, message); `told`: paths whose values are wrong in themselves."""
    if _any(told, "target"):
        return
    yield from evaluation_rules(spec)
    yield from tracker_rules(spec)
    yield from row_rules(spec)
    yield from known_energy_rules(spec)
    known: set[str] = {"critic", "behavior", "policy"} if spec.target is not None else set()
    yield from name_rules(spec)
    yield from concurrent_rules(spec)
    yield from branch_rules(spec)
    yield from particle_rules(spec)
    for index, step in enumerate(spec.schedule.steps):
        earlier, known = known, known | set(step.learn)
        where = f"schedule.steps[{index}]"
        if "critic" in step.learn and spec.target is None and not _any(told, "critic"):
            yield from critic_rules(spec, step, known, where)
        if "policy" in step.learn:
            yield from policy_rules(spec, step, earlier, known, where)
            if not _any(told, *(f"{where}.{key}" for key in ("from", "proximal", "energy"))):
                yield from empty_rules(step, where)
        yield from optimizer_rules(spec, index, earlier, where)
        yield from average_rules(spec, step, where)
        yield from ending_rules(spec, step, where)
        if not _any(told, f"{where}.judge", f"{where}.until", f"{where}.repeat_until"):
            yield from judge_rules(spec, step, earlier, where)
        yield from trial_rules(spec, step, where)
        yield from doubling_rules(spec, step, where)
        yield from explicit_rules(spec, step, where)
        yield from closed_rules(spec, step, where)
        yield from behavior_rules(spec, step, where)
        yield from multiplier_rules(spec, step, where)
        yield from particle_step_rules(spec, step, known, earlier, where)


def _any(told: Collection[str], *paths: str) -> bool:
    """Whether something was told of one of these values, or of a part of it."""
    return any(one == path or one.startswith((f"{path}.", f"{path}[")) for one in told for path in paths)
