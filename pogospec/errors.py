"""What can go wrong, and the exit code each kind of trouble ends a command with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pogospec.places import shown


def printable(text: str, most: int | None = None) -> str:
    """Text on one line: what does not print as an escape, and, where it is longer than `most`, without its middle."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if most is None or len(text) <= most else f"{text[: most * 2 // 3]}…{text[len(text) - most // 4 :]}"


def reason(error: OSError) -> str:
    """What cannot be done with which file, on one line."""
    why = error.strerror or str(error) or type(error).__name__
    return printable(f"{error.filename}: {why}" if isinstance(error.filename, (str, Path)) else why)


class Origin(NamedTuple):
    """Where a value was written: the layer that set it, and its file, line and column (1-based)."""

    layer: str
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.file is None:
            return self.layer
        parts = (shown(self.file), self.line, self.column)
        return printable(":".join(str(part) for part in parts if part is not None))


@dataclass(frozen=True)
class Problem:
    """One mistake in a spec: its place, its path, and a sentence that says what to do."""

    origin: Origin
    path: str
    message: str

    def __str__(self) -> str:
        path = printable(self.path, 120)
        return ": ".join(part for part in (str(self.origin), path, printable(self.message)) if part)


class PogospecError(Exception):
    """Base of every error that is shown to a user as one message without a traceback."""

    exit_code = 1


class SpecError(PogospecError):
    """A spec that cannot be read or makes no sense; holds every problem found in it."""

    exit_code = 2

    def __init__(self, problems: list[Problem]):
        self.problems = sorted(problems, key=lambda p: (p.origin.file or "", p.origin.line or 0, p.origin.column or 0))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CompileError(SpecError):
    """A well-formed spec that does not fit the data or environment it is compiled for."""


class DataError(PogospecError):
    """A dataset or environment that is missing, damaged or unusable; `path`: the key of a spec that names it."""

    exit_code = 2
    path = "data.dataset"


class TaskError(DataError):
    """An environment that cannot be made, or that is not that of the data."""

    path = "data.environment"


class NotInstalled(TaskError):
    """An environment of a package that this machine lacks."""


class UsageError(PogospecError):
    """An argument of a command or function that cannot be used."""

    exit_code = 2


class RunError(PogospecError):
    """A run that failed while it was running."""


class TooLargeError(RunError):
    """A run that needs more memory than there is."""

    exit_code = 2


class RunDirectoryError(RunError):
    """A run directory or checkpoint that cannot be used as asked."""

    exit_code = 2


class ForeignError(RunDirectoryError):
    """A file in a run directory that is of another run."""
