"""What the specs of runs say differently, as their run directories hold them; no code of theirs is run."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pogospec.errors import PogospecError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.sweep import leaves, short_names, value_text

APART = ("name", "about", "data.dataset", "seeds", "schedule.steps[*].name")
"""Keys that tell nothing of a method, or are told elsewhere."""
TRACKERS = "train.track"
"""Where trackers stand, on which no number depends."""
COPIES = (("behavior", "policy"), ("schedule.steps[*]", ""))
"""Places that repeat what stands in others, unless they say something of their own."""
MOST = 12
"""Keys that are told, of many."""
ABSENT = "–"


def spec_of(run: RunDirectory) -> dict[str, Any]:
    """The resolved spec of a run as plain data; empty where it cannot be read."""
    path = run.path / "spec.yaml"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (PogospecError, OSError):
        return {}


@functools.lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> dict[str, Any]:
    from pogospec.spec.yaml import plain_of, read_tree

    return plain_of(read_tree(path))


def differing(runs: Sequence[RunDirectory]) -> dict[str, list[Any]]:
    """Path -> the value of each run, where they are not all the same; ABSENT where a run has no such key.

    Empty where a spec cannot be read. What steps have alike is one path, `schedule.steps[*]`, and what they inherit
    stands where it was written.
    """
    specs = [spec_of(run) for run in runs]
    if len(runs) < 2 or not all(specs):
        return {}
    flat = [{path: v for path, v in leaves(spec, "") if not path.startswith(TRACKERS)} for spec in specs]
    found: dict[str, list[Any]] = {}
    for path in dict.fromkeys(path for one in flat for path in one):
        values = [one.get(path, ABSENT) for one in flat]
        if any(value != values[0] or type(value) is not type(values[0]) for value in values[1:]):
            found[path] = values
    steps = max(len((spec.get("schedule") or {}).get("steps") or ()) for spec in specs)
    return {path: values for path, values in _joined(found, steps).items() if path not in APART}


def _joined(found: dict[str, list[Any]], count: int) -> dict[str, list[Any]]:
    """The same without what is repeated; `count`: of steps."""
    steps: dict[str, list[tuple[str, list[Any]]]] = {}
    for path, values in found.items():
        steps.setdefault(re.sub(r"schedule\.steps\[\d+\]", "schedule.steps[*]", path), []).append((path, values))
    joined: dict[str, list[Any]] = {}
    for path, each in steps.items():
        same = len(each) in (1, count) and all(values == each[0][1] for _, values in each)
        same &= "[*]" not in path or len(each) == count
        joined |= {path: each[0][1]} if same else dict(each)
    for copy, above in COPIES:
        for path in [path for path in joined if path.startswith(f"{copy}.")]:
            source = f"{above}.{path.removeprefix(f'{copy}.')}".lstrip(".")
            if joined.get(source) == joined[path]:
                del joined[path]
    return joined


def told(members: Sequence[tuple[str, RunDirectory]]) -> list[str]:
    """What differs between runs beside each other, a line a key; of many the first, and how many more there are."""
    found = differing([run for _, run in members])
    names, lines = short_names(list(found)), []
    for path, values in list(found.items())[:MOST]:
        owners: dict[str, list[str]] = {}
        for (title, _), value in zip(members, values, strict=True):
            owners.setdefault(ABSENT if value == ABSENT else value_text(value), []).append(title)
        texts = [f"{text} ({_some(who)})" for text, who in owners.items()]
        lines.append(f"{names[path]}: {', '.join(texts)}")
    if len(found) > MOST:
        lines.append(f"and {len(found) - MOST} more keys: their spec.yaml hold them")
    return lines


def _some(titles: Sequence[str]) -> str:
    return ", ".join(titles[:3]) + (f" and {len(titles) - 3} more" if len(titles) > 3 else "")
