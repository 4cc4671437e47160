"""What a search may choose: paths and their ranges, which the key `tune` of a file declares, and their grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pogospec.errors import Problem, SpecError
from pogospec.spec.annotations import did_you_mean
from pogospec.spec.build import holdable
from pogospec.spec.sweep import REFUSED, value_text, with_fractions
from pogospec.spec.yaml import Node, plain_of, show, tree_of

KINDS = ("log", "uniform", "integer", "choice")
EXAMPLE = "such as {log: [0.1, 30]}, {uniform: [0, 1]}, {integer: [1, 8]} or {choice: [1e-4, 3e-4]}"
POINTS = 5
"""Values of a range of numbers that a grid has, where the range does not say."""
DIGITS = 4
"""Of numbers that a search draws from a range."""
WHAT_MEASURES = "what trials are measured by, which all have alike; allowed other paths"
ALIKE = REFUSED | {
    "data": "the dataset, which all trials have alike; allowed other paths",
    "data.dataset": "the dataset, which all trials have alike; allowed other paths",
    "seeds": "the number of seeds, which all trials have alike; allowed other paths",
    "name": "the name, which all trials have alike; allowed other paths",
    "data.environment": WHAT_MEASURES,
    "data.arguments": WHAT_MEASURES,
    "data.max_episode_steps": WHAT_MEASURES,
    "schedule.branch": "the branch, whose moments are runs already; allowed other paths",
}
WHOLE = ("extends", "tuned", "sweep", "tune")
"""Keys that are read at the top of a file alone."""


class Range(NamedTuple):
    """The values that a search may give to a path: two ends, or choices; `node`: where it was written."""

    kind: str
    values: tuple[Any, ...]  # plain data: the ends, the choices
    points: int
    node: Node

    def __str__(self) -> str:
        if self.kind == "choice":
            return ", ".join(map(value_text, self.values))
        low, high = map(value_text, self.values)
        return f"{low} to {high}" + {"log": ", logarithmic", "integer": ", whole"}.get(self.kind, "")

    @property
    def plain(self) -> dict[str, Any]:
        """As a file has it."""
        return {self.kind: list(self.values), "points": self.points}

    @property
    def grid(self) -> list[Any]:
        """The values that a grid has: all choices, or `points` evenly spaced numbers, ends included, each once."""
        if self.kind == "choice":
            return list(self.values)
        low, high = self.values
        if self.kind == "integer":
            count = min(self.points, high - low + 1)
            return list(dict.fromkeys(round(low + (high - low) * i / max(count - 1, 1)) for i in range(count)))
        shares = [i / (self.points - 1) for i in range(self.points)]
        spaced = [low * (high / low) ** share if self.kind == "log" else low + (high - low) * share for share in shares]
        return list(dict.fromkeys(map(self.rounded, spaced)))

    def rounded(self, value: float) -> float:
        """A number of a few digits that is still within the range."""
        low, high = self.values
        return float(min(max(float(f"{value:.{DIGITS}g}"), low), high))

    def node_of(self, value: Any) -> Node:
        """A value as if it had been written where the range is."""
        written = self.node.value[self.kind]
        return replace(tree_of(value, written.origin, written.path), key_origin=None)

    @property
    def tried(self) -> list[Node]:
        """The values that `check` looks at, each where it was written: choices, or both ends."""
        nodes = zip(self.node.value[self.kind].value, self.values, strict=True)
        return [node if isinstance(node.value, (dict, list)) else replace(node, value=plain) for node, plain in nodes]


def read_ranges(tune: Node | None) -> dict[str, Range]:
    """Paths -> ranges, of the key `tune`; raises SpecError with every mistake."""
    if tune is None or tune.value is None:
        return {}
    if not isinstance(tune.value, dict):
        message = f"found {show(tune.value)}, allowed a mapping from paths to ranges, {EXAMPLE}"
        raise SpecError([Problem(tune.origin, "tune", message)])
    ranges, problems = {}, []
    for path, node in tune.value.items():
        refused = _refused(path)
        if refused:
            problems.append(Problem(node.key_origin or node.origin, path, f"found {refused}"))
            continue
        try:
            ranges[path] = _range(path, node)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return ranges


def _refused(path: str) -> str:
    """Why no search may vary a path; empty where it may."""
    head = path.partition(".")[0]
    if path in ALIKE:
        return ALIKE[path]
    if head == "evaluate":
        return WHAT_MEASURES
    if path.startswith(("schedule.branch.", "data.arguments.")):
        return ALIKE[".".join(path.split(".")[:2])]
    at_top = f"the path {show(path)}, which is read at the top of a file alone; allowed other keys"
    return at_top if head in WHOLE else ""


def _range(path: str, node: Node) -> Range:
    def refuse(message: str, at: Node = node) -> SpecError:
        return SpecError([Problem(at.origin, path, message)])

    if not isinstance(node.value, dict):
        raise refuse(f"found {show(node.value)}, allowed a range, {EXAMPLE}")
    kinds = [key for key in node.value if key in KINDS]
    unknown = next((key for key in node.value if key not in (*KINDS, "points")), None)
    if unknown is not None:
        known, at = (*KINDS, "points"), node.value[unknown]
        message = f"found unknown key {show(unknown)}, allowed {', '.join(known)}{did_you_mean(unknown, known)}"
        raise SpecError([Problem(at.key_origin or at.origin, path, message)])
    if len(kinds) != 1:
        found = " and ".join(kinds) or "no kind of range"
        raise refuse(f"found {found}, allowed one of {', '.join(KINDS)}, {EXAMPLE}")
    (kind,), entry = kinds, node.value[kinds[0]]
    if not isinstance(entry.value, list):
        raise refuse(f"found {show(entry.value)}, allowed a list, {EXAMPLE}", entry)
    values = tuple(with_fractions(plain_of(value)) for value in entry.value)
    if kind == "choice":
        if "points" in node.value:
            raise refuse("found points beside choice, of which a grid has all; remove it", node.value["points"])
        _check_choices(values, entry.value, entry, refuse)
        return Range(kind, values, len(values), node)
    ends = _ends(kind, values, entry, refuse)
    return Range(kind, ends, _points(node, refuse), node)


def _check_choices(values: Sequence[Any], nodes: Sequence[Node], entry: Node, refuse: Any) -> None:
    if len(values) < 2:
        raise refuse(f"found {len(values)} choice{'s'[: len(values) != 1]}, allowed two or more", entry)
    texts = [json.dumps(value, sort_keys=True) for value in values]
    twice = next((i for i, text in enumerate(texts) if text in texts[:i]), None)
    if twice is not None:
        raise refuse(f"found {texts[twice]} twice; keep one", nodes[twice])


def _ends(kind: str, values: Sequence[Any], entry: Node, refuse: Any) -> tuple[Any, Any]:
    whole = kind == "integer"
    allowed = "two whole numbers" if whole else "two numbers > 0" if kind == "log" else "two numbers"
    allowed = f"allowed {allowed} that increase, such as {'[1, 8]' if whole else '[0.1, 30]'}"
    if len(values) != 2:
        raise refuse(f"found {len(values)} values, {allowed}", entry)
    for value, node in zip(values, entry.value, strict=True):
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        good = number and (not whole or value == int(value)) and (kind != "log" or value > 0)
        if not good or not holdable(value, int if whole else float):
            raise refuse(f"found {show(plain_of(node))}, {allowed}", node)
    low, high = (int(value) if whole else float(value) for value in values)
    if low >= high:
        raise refuse(f"found {value_text(low)} to {value_text(high)}, {allowed}", entry)
    return low, high


def _points(node: Node, refuse: Any) -> int:
    entry = node.value.get("points")
    if entry is None:
        return POINTS
    value = entry.value
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 1000:
        raise refuse(f"found {show(value)}, allowed a whole number from 2 to 1000: the points that a grid has", entry)
    return value


def grid_size(ranges: Mapping[str, Range]) -> int:
    """How many trials a grid over all ranges has."""
    return math.prod(len(one.grid) for one in ranges.values())


def grid_cell(ranges: dict[str, Range], number: int) -> dict[str, Any]:
    """The values of cell `number` of the grid, the last path running fastest."""
    found: dict[str, Any] = {}
    for path, one in reversed(ranges.items()):
        number, place = divmod(number, len(one.grid))
        found[path] = one.grid[place]
    return dict(reversed(found.items()))
