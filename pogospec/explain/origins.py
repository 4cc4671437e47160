"""Every value of a resolved spec with the place that set it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pogospec.errors import Origin
from pogospec.explain.numbers import number
from pogospec.spec.build import to_plain
from pogospec.spec.merge import LEARNERS
from pogospec.spec.resolve import Document
from pogospec.spec.sweep import leaves

DEFAULT = Origin("default")
STEP = re.compile(r"schedule\.steps\[\d+\]\.(.+)")
OPTIMIZER = re.compile(rf"(.*\boptimizer)\.(?:{'|'.join(LEARNERS)})\.(.+)")


@dataclass(frozen=True)
class Value:
    """A scalar or a list of a spec, and where it was written."""

    path: str
    value: Any
    origin: Origin

    @property
    def shown(self) -> str:
        """The value as in YAML."""
        return _shown(self.value)


def values(document: Document) -> list[Value]:
    """Every value of the resolved spec, in the order of its keys."""
    return [Value(path, value, _origin(document, path)) for path, value in leaves(to_plain(document.spec), "")]


IDLE = {
    True: ("data", "behavior", "critic", "evaluate.episodes", "evaluate.action", "evaluate.seed", "train.batch_size"),
    False: ("target", "start"),
}
"""Keys that mean nothing on a known energy, and keys that mean nothing elsewhere."""


def _idle(value: Value, known: bool) -> bool:
    """Whether a value that nobody wrote means nothing in this spec; `known`: it has a target."""
    under = any(value.path == key or value.path.startswith(f"{key}.") for key in IDLE[known])
    learner = known and ".optimizer." in f".{value.path}" and ".optimizer.policy" not in f".{value.path}"
    copy = known and value.path.startswith("behavior.")
    one = known and value.path.endswith((".critics", ".behavior_batch"))
    return copy or (value.origin.layer == "default" and (under or learner or one))


def grouped(found: list[Value], known: bool = False) -> list[Value]:
    """The values without repetition, and without defaults that mean nothing here; `known`: on a known energy.

    What a step inherits unchanged is told once, at the top or as `steps[*]`; learners that share an optimiser are one
    `optimizer.*`; and keys of a step that say nothing (null by default) are left out.
    """
    found = [value for value in found if not _idle(value, known)]
    top = {value.path: value for value in found}
    kept: dict[str, Value] = {}
    steps = max((int(match[1]) for v in found if (match := re.match(r"schedule\.steps\[(\d+)\]", v.path))), default=0)
    for value in found:
        step = STEP.fullmatch(value.path)
        if step is not None:
            above = top.get(step[1])
            says_nothing = value.value is None and value.origin.layer == "default"
            if says_nothing or (above is not None and _same(above, value)):
                continue
            copies = [top.get(f"schedule.steps[{i}].{step[1]}") for i in range(steps + 1)]
            if steps and all(copy is not None and _same(copy, value) for copy in copies):
                value = Value(f"schedule.steps[*].{step[1]}", value.value, value.origin)
        learner = OPTIMIZER.fullmatch(value.path)
        if learner is not None:
            copies = [top.get(f"{learner[1].replace('[*]', '[0]')}.{name}.{learner[2]}") for name in LEARNERS]
            if all(copy is not None and _same(copy, value) for copy in copies):
                value = Value(f"{learner[1]}.*.{learner[2]}", value.value, value.origin)
        kept.setdefault(value.path, value)
    return list(kept.values())


def _same(one: Value, other: Value) -> bool:
    return one.value == other.value and one.origin == other.origin


def _origin(document: Document, path: str) -> Origin:
    """Where a path was written, or where the value that holds it was."""
    while path:
        if path in document.origins:
            return document.origins[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return DEFAULT


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    return number(value) if isinstance(value, float) else str(value)
