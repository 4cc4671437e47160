"""ope.csv of a run directory: what its policies are worth by the data alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pogospec.runs import files, tables
from pogospec.runs.columns import ESTIMATED, OPE
from pogospec.runs.directory import RunDirectory

NAME = "ope.csv"


def write(run: RunDirectory, rows: Sequence[dict[str, Any]]) -> None:
    """Add estimates, in the place of those that were asked for in the same words; the file is whole or as it was."""
    new = [{name: _cell(row.get(name, "")) for name in OPE} for row in rows]
    asked = {_asked(row) for row in new}
    kept = [row for row in read(run) if _asked(row) not in asked]
    lines = [[row.get(name, "") for name in OPE] for row in kept + new]
    files.publish(run.path / NAME, tables.lines_of([list(OPE), *lines]))


def read(run: RunDirectory) -> list[dict[str, str]]:
    """The rows, none where there are no estimates; raises RunDirectoryError where the file is damaged."""
    return run.read(NAME) if (run.path / NAME).exists() else []


def _cell(value: Any) -> str:
    """A value as a table has it; of what is not known nothing."""
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return str(value)


def _asked(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row.get(name, "") for name in OPE if name not in ESTIMATED)
