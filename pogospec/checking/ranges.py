"""What a search may vary: each choice and each end of a range, one at a time, must make a spec that is fine."""

from __future__ import annotations

from collections.abc import Sequence

from pogospec.checking.check import checked
from pogospec.errors import Problem, SpecError
from pogospec.spec.resolve import Document, Override, read_cells, refuse_lost
from pogospec.spec.tune import Range
from pogospec.spec.yaml import Node


def require_ranges(path: str, overrides: Sequence[Override], document: Document) -> None:
    """Raise SpecError with what is wrong with the ranges that a checked spec file declares; `document`: as it was read.

    Ranges are tried in what the file says otherwise: values that are only fine together cannot be searched.
    """
    ranges, problems = document.ranges, []
    if document.spec is None or not ranges:
        return
    refuse_lost(overrides, list(ranges), "a search varies; allowed other paths, or a `tune` without '{}'")
    if document.cell or document.spec.schedule.branch is not None:
        other = "a sweep" if document.cell else "schedule.branch"
        node = next(iter(ranges.values())).node
        message = f"found a search beside {other}; allowed one of both"
        raise SpecError([Problem(node.key_origin or node.origin, "tune", message)])
    for where, one in ranges.items():
        problems += _mistakes(path, overrides, where, one, document.spec.target is not None)
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))


def _mistakes(path: str, overrides: Sequence[Override], where: str, one: Range, known: bool) -> list[Problem]:
    parts = where.split(".")
    if known and (parts[0] == "target" or "energy" in parts):
        message = "found a part of the energy, by which trials on a known energy are compared; allowed other paths"
        return [Problem(one.node.key_origin or one.node.origin, where, message)]
    found: list[Problem] = []
    for value in one.tried:
        try:
            checked(read_cells(path, overrides, [(where, Node([value], value.origin, None, where))])[0])
        except SpecError as error:
            found += error.problems
    return found
