"""The grid of a sweep: paths and the values that each takes, and what to call a cell of it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from pogospec.errors import Problem, SpecError
from pogospec.spec.yaml import Node, fraction, plain_of, show

MAX_CELLS = 1000
REFUSED = {
    "data": "the dataset, which a suite varies: list it under its `datasets`",
    "data.dataset": "the dataset, which a suite varies: list it under its `datasets`",
    "seeds": "the number of seeds, which every cell has alike; allowed other paths",
    "name": "the name, which every cell has alike; allowed other paths",
    "about": "the sentence about the spec; allowed other paths",
}
PLACES = ("schedule", "steps", "defaults")
"""Parts of a path that say little."""
Cell = tuple[tuple[str, Node], ...]
"""Paths and their values in one cell."""


def read_grid(sweep: Node | None, given: Sequence[tuple[str, Node]] = ()) -> dict[str, list[Node]]:
    """Paths -> values, of the key `sweep` and of the command line, which wins; raises SpecError."""
    problems: list[Problem] = []
    entries = {} if sweep is None or sweep.value is None else sweep.value
    if not isinstance(entries, dict):
        assert sweep is not None
        message = f"found {show(entries)}, allowed a mapping from paths to lists of values"
        raise SpecError([Problem(sweep.origin, "sweep", message)])
    grid = {}
    for path, node in {**entries, **dict(given)}.items():
        message = _mistake(path, node)
        if message:
            at_key = path in REFUSED and node.key_origin is not None
            problems.append(Problem(node.key_origin if at_key and node.key_origin else node.origin, path, message))
        else:
            grid[path] = [value.in_layer("sweep") for value in node.value]
    cells = 1
    for values in grid.values():
        cells *= len(values)
    if cells > MAX_CELLS and not problems:
        node = next(iter({**entries, **dict(given)}.values()))
        message = f"makes {cells:,} cells, allowed {MAX_CELLS:,}; take fewer values"
        problems.append(Problem(node.origin, "sweep", message))
    if problems:
        raise SpecError(problems)
    return grid


def _mistake(path: str, node: Node) -> str:
    """What is wrong with one entry; empty where nothing is."""
    if path in REFUSED:
        return f"found {REFUSED[path]}"
    if path == "schedule.branch" or path.startswith("schedule.branch."):
        return "found the branch, whose moments are cells already; allowed other paths"
    if path.partition(".")[0] in ("extends", "tuned", "sweep"):
        return f"found the path {show(path)}, which is read at the top of a file alone; allowed other keys"
    if not isinstance(node.value, list):
        return f"found {show(node.value)}, allowed a list of values, such as [1, 2, 4]"
    values = [json.dumps(with_fractions(plain_of(value)), sort_keys=True) for value in node.value]
    if not values:
        return "found an empty list, allowed one value or more"
    twice = next((value for value in values if values.count(value) > 1), None)
    return "" if twice is None else f"found {twice} twice; keep one"


def cells_of(grid: dict[str, list[Node]]) -> Iterator[Cell]:
    """Every combination, the last path running fastest; one cell of nothing where nothing is swept."""
    for values in itertools.product(*grid.values()):
        yield tuple(zip(grid, values, strict=True))


def with_fractions(plain: Any) -> Any:
    """Plain data in which fractions of two numbers are the numbers that they stand for."""
    if isinstance(plain, dict):
        return {key: with_fractions(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [with_fractions(value) for value in plain]
    quotient = fraction(plain) if isinstance(plain, str) else None
    return plain if quotient is None or not math.isfinite(quotient) else quotient


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Paths -> their last parts, where these tell them apart."""
    short = {path: _short(path) for path in paths}
    return {path: name if list(short.values()).count(name) == 1 else path for path, name in short.items()}


def _short(path: str) -> str:
    parts = [part for part in path.split(".") if part.partition("[")[0] not in PLACES]
    return ".".join(parts[-2:]) or path


def value_text(value: Any) -> str:
    """A swept value in a few characters."""
    if isinstance(value, float):
        text = f"{value:g}"
        return text if float(text) == value else repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace('"', "").replace(" ", "")


def cell_title(cell: dict[str, Any]) -> str:
    """What to call a cell: tau=2 entropy.weight=0.001."""
    names = short_names(list(cell))
    return " ".join(f"{names[path]}={value_text(value)}" for path, value in cell.items())


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Scalars, and lists of scalars, of plain data by path."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(child, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(child, (dict, list)) for child in value):
        for index, child in enumerate(value):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path, value
