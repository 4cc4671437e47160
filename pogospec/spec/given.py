"""Specs and overrides that are given as data in Python: mappings, numbers, arrays, in the place of YAML text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pogospec.errors import Origin, Problem, SpecError, UsageError
from pogospec.spec.yaml import MAX_DEPTH, UNWRITABLE, Node, join, show, tree_of

FILE = "<mapping>"
"""What stands for a file in messages about a mapping."""


def as_plain(value: Any, where: Origin, path: str = "", depth: int = 0) -> Any:
    """Text, numbers, lists and mappings of what Python, NumPy and JAX have; raises SpecError for anything else."""

    def refuse(found: str, allowed: str) -> SpecError:
        return SpecError([Problem(where, path, f"found {found}, allowed {allowed}")])

    if depth > MAX_DEPTH:
        raise refuse(f"nesting deeper than {MAX_DEPTH} levels", "less, and nothing that holds itself")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, PurePath)):
        text = str(value)
        if UNWRITABLE.search(text):
            raise refuse(show(text), "characters that UTF-8 and file names can hold")
        return text
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise refuse(f"{show(key)} as a key", "text")
        return {key: as_plain(item, where, join(path, key), depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [as_plain(item, where, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return as_plain(value.tolist(), where, path, depth + 1)
    raise refuse(f"a value of type {type(value).__name__}", "text, numbers, true and false, lists and mappings")


def as_tree(given: Mapping[str, Any]) -> Node:
    """A spec that is given as a mapping; raises SpecError."""
    origin = Origin("file", FILE)
    return tree_of(as_plain(given, origin), origin)


def as_overrides(given: Mapping[str, Any] | Sequence[tuple[Any, ...]]) -> list[Any]:
    """Overrides as pairs or as a mapping from paths; text is YAML, as `--set` takes it, and all else is data."""
    pairs = list(given.items()) if isinstance(given, Mapping) else list(given)
    found: list[Any] = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) < 2:
            raise UsageError(f"found the override {pair!r}, allowed pairs of a path and a value")
        path, value, *flags = pair
        if isinstance(value, (str, Node)):
            found.append((path, value, *flags))
        else:
            origin = Origin("command line", flags[0] if flags else f"override {path}")
            found.append((path, tree_of(as_plain(value, origin, path), origin, path)))
    return found
