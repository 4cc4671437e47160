"""What a manifest may hold: types of its entries, the format of its run directory, and which files belong to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pogospec.errors import RunDirectoryError, UsageError

FORMAT = 2
"""Of run directories as they are made now; those of format 1 name neither it nor an identity."""


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _count(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value < 2**63


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _reference(value: Any) -> bool:
    if value is None:
        return True
    keys = {"low": _number, "high": _number, "source": _text, "label": _text}
    good = isinstance(value, dict) and all(key in value and test(value[key]) for key, test in keys.items())
    return good and value["low"] != value["high"]


def _environment(value: Any) -> bool:
    """None, or an id with settings behind it, as JSON."""
    if not isinstance(value, str):
        return value is None
    settings = value.partition(" {")[2]
    try:
        return not settings or isinstance(json.loads("{" + settings), dict)
    except (ValueError, RecursionError):
        return False


def _seeds(value: Any) -> bool:
    good = isinstance(value, list) and bool(value) and all(map(_count(0), value))
    return good and all(a < b for a, b in zip(value, value[1:], strict=False))


def _sweep(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _branch(value: Any) -> bool:
    keys = {"trunk": _text, "label": _text, "step": _count(0), "at": _count(1)}
    return isinstance(value, dict) and all(key in value and test(value[key]) for key, test in keys.items())


def _versions(value: Any) -> bool:
    return isinstance(value, dict) and all(one is None or _text(one) for one in value.values())


ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("name", "digest", "dataset", "data_sha256", "device", "started", "python"), (_text, "a text")),
    **dict.fromkeys(("identity", "spec_sha256"), (_text, "a text")),
    **dict.fromkeys(("seeds", "episodes", "format"), (_count(1), "a whole number >= 1")),
    **dict.fromkeys(("evaluation_seed", "cell"), (_count(0), "a whole number >= 0")),
    "action": (lambda value: value in ("mean", "sample"), "mean or sample"),
    "environment": (_environment, "null, or an id with settings as JSON"),
    "reference": (_reference, "null, or two different numbers low and high with their source and label"),
    "sweep": (_sweep, "paths with their values"),
    **dict.fromkeys(("seed_numbers", "among"), (_seeds, "a list of seeds that increase")),
    "branch": (_branch, "the directory of a trunk, a step with its label, and its updates there"),
    "versions": (_versions, "versions by package"),
}


def checked(path: Path, content: Mapping[str, Any]) -> None:
    """Raise RunDirectoryError for a manifest of a newer format, or with entries that none has."""
    found = content.get("format", 1)
    if _count(FORMAT + 1)(found):
        made = (content.get("versions") or {}).get("pogospec") if _versions(content.get("versions")) else None
        by = f", made by pogospec {made}" if made else ""
        raise RunDirectoryError(
            f"{path.parent} is a run directory of format {found}{by}; this version reads formats 1 to {FORMAT}: "
            "use a newer pogospec"
        )
    for key, (good, allowed) in ENTRIES.items():
        if key in content and not good(content[key]):
            raise RunDirectoryError(f"{path} is damaged: {key} is not {allowed}")
    if "seed_numbers" in content and len(content["seed_numbers"]) != content.get("seeds"):
        raise RunDirectoryError(f"{path} is damaged: seed_numbers are not as many as seeds")


def numbers_of(manifest: dict[str, Any]) -> list[int]:
    """The seeds of a run: 0, 1, … unless the manifest names them."""
    return list(manifest.get("seed_numbers") or range(manifest["seeds"]))


def seed_row(manifest: dict[str, Any], seed: int | None) -> int:
    """The row of a seed among those of a run, the first by default; raises UsageError for none of the run's."""
    seeds = numbers_of(manifest)
    if seed is None:
        return 0
    if seed not in seeds:
        counted = seeds == list(range(len(seeds)))
        allowed = f"0 to {len(seeds) - 1}" if counted else ", ".join(map(str, seeds))
        raise UsageError(f"found seed {seed}, allowed {allowed}")
    return seeds.index(seed)
