"""The literature's scores, from published.yaml: D4RL-normalised, mean ± std as printed, with their sources."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.errors import UsageError
from pogospec.registry import nearest
from pogospec.spec.yaml import plain_of, read_tree

FILE = Path(__file__).with_name("published.yaml")
ALL = "all"


class Source(NamedTuple):
    """A table of the literature; `scores`: dataset -> method -> (mean, std) or None, std None where none is printed."""

    name: str
    source: str
    protocol: str
    seeds: int | None
    std: str
    note: str | None
    scores: dict[str, dict[str, Any]]

    @property
    def methods(self) -> list[str]:
        """Its columns."""
        return list(next(iter(self.scores.values())))

    def about(self) -> str:
        """Where the numbers come from, over how many seeds, and what the std is."""
        seeds = "seeds not stated" if self.seeds is None else f"{self.seeds} seeds"
        note = f"; {self.note}" if self.note else ""
        return f"{self.source}; {self.protocol}; {seeds}; std: {self.std}{note}"


class Published(NamedTuple):
    """One method of one source; `texts` and `means` by dataset, as far as they are printed."""

    title: str
    source: str
    method: str
    seeds: int | None
    texts: dict[str, str]
    means: dict[str, float]
    stds: dict[str, float]


@cache
def sources() -> dict[str, Source]:
    """All tables by name."""
    return {name: _source(name, entry) for name, entry in _content()["sources"].items()}


@cache
def _content() -> dict[str, Any]:
    return plain_of(read_tree(FILE))


def _source(name: str, entry: dict[str, Any]) -> Source:
    methods, rows = entry.pop("methods"), entry.pop("scores")
    prefix = _content()["prefix"]
    scores = {prefix + dataset: dict(zip(methods, map(_number, row), strict=True)) for dataset, row in rows.items()}
    return Source(name, **entry, scores=scores)


def _number(cell: Any) -> tuple[str, float, float | None] | None:
    """A cell as printed, its mean and its std."""
    if cell is None:
        return None
    mean, _, std = str(cell).partition(" ± ")
    return str(cell), float(mean), float(std) if std else None


def named(name: str) -> list[Source]:
    """The source of a name, or all of them; raises UsageError."""
    if name == ALL:
        return list(sources().values())
    if name not in sources():
        close = nearest(name, [ALL, *sources()])
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"--published: found '{name}', allowed {', '.join([ALL, *sources()])}{hint}")
    return [sources()[name]]


def of_method(chosen: Sequence[Source], spec: str) -> list[Published]:
    """The columns of a spec, by its name."""
    methods = {method for method, name in _content()["specs"].items() if name == spec.replace("_", "-")}
    return [_column(source, method) for source in chosen for method in source.methods if method in methods]


def of_source(source: Source) -> list[Published]:
    """All columns of a source."""
    return [_column(source, method) for method in source.methods]


def _column(source: Source, method: str) -> Published:
    cells = {dataset: row[method] for dataset, row in source.scores.items() if row[method] is not None}
    texts, means = ({dataset: cell[i] for dataset, cell in cells.items()} for i in (0, 1))
    stds = {dataset: cell[2] for dataset, cell in cells.items() if cell[2] is not None}
    return Published(f"{method} ({source.name})", source.name, method, source.seeds, texts, means, stds)
