"""The data that specs name, looked for before any rows are read: what is refused, and what is not on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pogospec.checking.check import problem_of
from pogospec.data import find_for
from pogospec.data.sources.base import NotAtHand
from pogospec.errors import DataError, Problem
from pogospec.spec.resolve import Document
from pogospec.spec.schema import DataSpec, Spec


class Lack(NamedTuple):
    """What a run says of data that it cannot have; `note`: the same for where nothing runs, None for mistakes."""

    problem: Problem
    note: Problem | None = None


def lacks(documents: Iterable[Document]) -> list[Lack]:
    """What data of checked specs cannot be had, each said once for a place."""
    return list(dict.fromkeys(_lacks(documents)))


def _lacks(documents: Iterable[Document]) -> Iterator[Lack]:
    looked: dict[DataSpec, DataError | None] = {}  # cells of a sweep mostly share their data
    for document in documents:
        spec = document.spec
        if spec is None or spec.target is not None:
            continue
        if spec.data not in looked:
            looked[spec.data] = _look(spec)
        error = looked[spec.data]
        if error is not None:
            problem, note = problem_of(document, error), None
            if isinstance(error, NotAtHand):
                text = f"'{error.dataset}' is not at hand here; {error.how}"
                note = Problem(problem.origin, problem.path, text)
            yield Lack(problem, note)


def _look(spec: Spec) -> DataError | None:
    try:
        find_for(spec)
    except DataError as error:
        return error
    return None


def require(documents: Sequence[Document], here: bool = True) -> None:
    """Raise DataError for data of checked specs that cannot be had; `here`: those too that another machine may have."""
    found = [str(lack.problem) for lack in lacks(documents) if here or lack.note is None]
    if found:
        raise DataError("\n".join(found))
