"""How long runs compiled on this machine, for those who ask how long the next one takes.

compiling.csv beside the compiled programs that are kept has a row a run: a key of all that decides its programs, the
steps of its schedule, and the seconds in which something was compiled, or read where it had been compiled before.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pogospec.runs import cache
from pogospec.spec.build import to_plain
from pogospec.spec.schema import Spec
from pogospec.types import Space

NAME = "compiling.csv"
LATEST = 200
"""Rows that are looked at: those of long ago may be of another machine's load."""
EVENTS = "/jax/core/compile/"
"""Beginning of what JAX says after it traced, lowered or compiled something."""
ALIKE = ("name", "about", "dataset", "seeds", "updates")
"""Keys that decide no program."""
Span = tuple[float, float]


class Row(NamedTuple):
    """What a run took."""

    key: str
    steps: int
    seconds: float


class Listener:
    """Hears of everything that this process compiles, in whatever thread."""

    def __init__(self) -> None:
        self.spans: list[Span] | None = None
        self.lock = threading.Lock()

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Note a stretch of time that ends now."""
        if event.startswith(EVENTS) and self.spans is not None:
            now = time.monotonic()
            with self.lock:
                self.spans.append((now - duration_secs, now))


_LISTENER: list[Listener] = []


@contextlib.contextmanager
def noted(specs: Sequence[Spec], space: Space) -> Iterator[None]:
    """Write down how long the runs of the block compile, where compiled programs are kept and it ends well."""
    import jax

    if not _LISTENER:
        _LISTENER.append(Listener())
        jax.monitoring.register_event_duration_secs_listener(_LISTENER[0])
    heard: list[Span] = []
    _LISTENER[0].spans = heard
    try:
        yield
    finally:
        _LISTENER[0].spans = None
    file = _file()
    if file is not None:
        row = Row(key_of(specs[0], space, len(specs)), len(specs[0].schedule.steps), covered(heard))
        with contextlib.suppress(OSError), file.open("a", newline="", encoding="utf-8") as out:
            csv.writer(out).writerow([row.key, row.steps, f"{row.seconds:.2f}"])


def expected(spec: Spec, space: Space, runs: int = 1) -> float | None:
    """Seconds that `runs` of a spec, which differ in numbers alone, will compile; None where nothing like it was seen.

    Programs that were compiled here before are read: they take what they took again. Others take as long a step as
    those of other runs, in the middle.
    """
    rows, key = _rows(), key_of(spec, space, runs)
    seen: set[str] = set()
    first: list[Row] = []
    again: list[Row] = []
    for row in rows:
        (again if row.key in seen else first).append(row)
        seen.add(row.key)
    if key in seen:
        own = [row.seconds for row in again if row.key == key]
        if own:
            return median(own)
        first = again
    return len(spec.schedule.steps) * median(row.seconds / row.steps for row in first) if first else None


def covered(spans: Sequence[Span]) -> float:
    """Seconds that stretches of time cover together, however they overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def key_of(spec: Spec, space: Space, runs: int) -> str:
    """What decides the programs of runs: all of a spec but names, data, budgets and numbers with a point."""
    said = [shape_of(to_plain(spec)), space.obs_dim, space.act_dim, spec.seed_count, runs]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def shape_of(plain: Any, key: str = "") -> Any:
    """What decides the operations of an update: all but names, data, budgets and numbers with a point."""
    if isinstance(plain, float) or key in ALIKE:
        return None
    if isinstance(plain, dict):
        return {name: shape_of(value, name) for name, value in plain.items()}
    if isinstance(plain, list):
        return [shape_of(value) for value in plain]
    return plain


def _file() -> Path | None:
    folder = cache.place()
    return None if folder is None or not folder.is_dir() else folder / NAME


def _rows() -> list[Row]:
    """The latest rows; damaged ones, as two runs that end at once may leave them, are left out."""
    file, found = _file(), []
    with contextlib.suppress(OSError):
        for key, steps, seconds in _cells(file) if file is not None else ():
            with contextlib.suppress(ValueError):
                row = Row(key, int(steps), float(seconds))
                if row.steps > 0 and 0 <= row.seconds < 1e6:
                    found.append(row)
    return found[-LATEST:]


def _cells(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        return [row for row in csv.reader(lines) if len(row) == len(Row._fields)]
