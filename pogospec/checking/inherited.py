"""What the steps of a spec take from the one that it extends, where that decides what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pogospec.errors import Origin, Problem
from pogospec.spec.annotations import fields_of
from pogospec.spec.build import to_plain
from pogospec.spec.resolve import Document
from pogospec.spec.schema import StepSpec
from pogospec.spec.yaml import join

BASE = "base"
"""The layer of what another spec says."""
OWN = ("energy", "geometry", "scheme")
"""Keys that make a step another one than those that its base was written for."""


class Taken(NamedTuple):
    """A value of a step that stands in a base: its path within the step, what it is, and where it was written."""

    path: str
    value: Any
    origin: Origin

    def __str__(self) -> str:
        value = self.value
        if isinstance(value, dict):
            value = value.get("kind", ", ".join(value))
        elif isinstance(value, list):
            value = f"[{', '.join(map(str, value))}]"
        said = "" if self.path == f"energy.{value}" else f": {str(value).lower() if isinstance(value, bool) else value}"
        return f"{self.path}{said} ({self.origin})"


def taken(document: Document) -> dict[str, list[Taken]]:
    """Step that this file writes, by its path -> what it takes from the base; values that are defaults left out."""
    found: dict[str, list[Taken]] = {}
    steps = () if document.spec is None else document.spec.schedule.steps
    for index, step in enumerate(steps):
        where = f"schedule.steps[{index}]"
        origin = document.origins.get(where)
        if origin is not None and origin.layer != BASE and (here := list(_taken(document, step, where))):
            found[where] = here
    return found


def _taken(document: Document, step: StepSpec, where: str) -> Iterator[Taken]:
    plain, defaults = to_plain(step), {key: field.default for key, (_, field) in fields_of(StepSpec).items()}
    for key, value in plain.items():
        path = f"{where}.{key}"
        if key == "optimizer":
            learners = {f"{key}.{name}": value[name] for name in step.learn}
            yield from (one for name, node in learners.items() for one in _of(document, where, name, node))
        elif value is not None and value != defaults[key] and path in document.origins:
            yield from _of(document, where, key, value)


def _of(document: Document, where: str, path: str, value: Any) -> Iterator[Taken]:
    """The outermost values at or under a path that the base says."""
    origin = document.origins.get(join(where, path))
    if origin is None or value is None:
        return
    if origin.layer == BASE:
        yield Taken(path, value, origin)
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _of(document, where, f"{path}.{key}", child)


def mixed(document: Document) -> list[Taken]:
    """Terms of the energy of the whole spec that its base says, where this file says others, and no steps."""
    origin = document.origins.get("energy")
    if document.spec is None or origin is None or origin.layer == BASE or taken(document):
        return []
    return [one for one in _of(document, "", "energy", to_plain(document.spec.energy)) if one.path.count(".") == 1]


def notes(document: Document) -> list[Problem]:
    """What to tell of it where a spec is checked: a note for all steps that take the same."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for where, found in taken(document).items():
        alike.setdefault(tuple(map(str, found)), []).append(where)
    told = list(document.idle)
    for texts, steps in alike.items():
        others = f"; so do {', '.join(steps[1:])}" if len(steps) > 1 else ""
        message = f"takes {', '.join(texts)} from the spec that this one extends{others}"
        told.append(Problem(document.origins[steps[0]], steps[0], message))
    if found := mixed(document):
        message = f"has {', '.join(map(str, found))} of the spec that this one extends, beside its own terms"
        told.append(Problem(document.origins["energy"], "energy", message))
    return told


def doubtful(document: Document) -> Iterator[tuple[str, str, str]]:
    """What a step probably does not mean to take: (path of the step, what it is, what to do)."""
    for where, found in taken(document).items():
        own = [key for key in OWN if _own(document, where, key)]
        terms = [one for one in found if one.path.startswith("energy.") and one.path.count(".") == 1]
        if terms:
            names = ", ".join(one.path.removeprefix("energy.") for one in terms)
            yield where, f"its energy has {', '.join(map(str, terms))} beside its own terms", f"{names}: null"
        rest = [one for one in found if not one.path.startswith(("optimizer", "energy", "learn", "updates", "tau"))]
        rest = [one for one in rest if "." not in one.path and one.path not in ("from", "geometry", "proximal")]
        if own and rest:
            keys = ", ".join(one.path for one in rest)
            yield where, f"it says its own {' and '.join(own)}, but takes {', '.join(map(str, rest))}", f"{keys}: null"


def _own(document: Document, where: str, key: str) -> bool:
    """Whether a step of this file says a key itself."""
    said = document.origins.get(f"{where}.{key}")
    return said is not None and said.layer not in (BASE, "default") and said != document.origins.get(key)
