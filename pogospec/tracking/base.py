"""What a tracker is: a node of the slot `tracker`, which begins a session of a run, or goes on with one."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pogospec.extras import Needs

End = Literal["done", "failed", "interrupted"]


class Subject(NamedTuple):
    """A run, as trackers are told of it."""

    path: Path  # the run directory
    folder: Path  # inside it, for what this tracker keeps on disk; perhaps still to be made
    name: str
    group: str | None  # the sweep or suite that the run is of
    facts: dict[str, Any]  # of the manifest: dataset, digest, versions, …
    spec: dict[str, Any]  # resolved, as plain data
    file: Path  # the same as YAML


class Results(NamedTuple):
    """The table of a run that is over."""

    columns: list[str]
    rows: list[list[Any]]  # text and numbers

    def markdown(self) -> str:
        """As a table of Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *([_shown(value) for value in row] for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def library(name: str) -> Any:
    """A module of a library that not everyone has; so imported, type checkers do not ask for it."""
    return import_module(name)


class Session(abc.ABC):
    """What a tracker has open for one run; all that it raises ends the tracking, not the run."""

    id: str
    """By which the library knows the run; with it a later session goes on."""
    where: str = ""
    """Where a person finds it: an address, or a command."""

    @abc.abstractmethod
    def log(self, step: int, values: dict[str, float]) -> None:
        """Take numbers after so many updates of the run."""

    @abc.abstractmethod
    def flush(self) -> None:
        """Bring what was taken to where it outlives this process, as far as the library can."""

    @abc.abstractmethod
    def finish(self, end: End, results: Results | None) -> None:
        """Take the table, and close."""


@dataclass(frozen=True)
class AbstractTracker(abc.ABC):
    """A library that runs are logged to; its fields are the keys of its node."""

    needs: ClassVar[tuple[Needs, ...]] = ()

    @abc.abstractmethod
    def start(self, subject: Subject, known: str | None) -> Session:
        """Begin a run, or go on with the one of a known id; hand over its spec. May take long, and may raise."""


@dataclass(frozen=True)
class ProjectTracker(AbstractTracker):
    """A library that keeps runs in projects; what it hands over when a run begins is told by its session."""

    session: ClassVar[Callable[[str, Subject, str | None], Session]]

    project: Annotated[str, "project that the run is of; MLflow calls it experiment"] = "pogospec"

    def start(self, subject: Subject, known: str | None) -> Session:
        """A run of the project."""
        return type(self).session(self.project, subject, known)
