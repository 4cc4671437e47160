"""The tables of a run directory, CSV files: read, and those that grow by rows cut back.

A last line without its end is a row that a process was stopped in, and is left out. Any other line that cannot be read
is damage.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pogospec import regular
from pogospec.errors import RunDirectoryError, reason
from pogospec.runs.columns import OPE

TEXTS = ("policy", "stage", "estimator", "rewards", "action", "hidden")
COUNTS = ("seed", "update", "total_update", "episode", "episodes")
NEEDED = {
    "metrics.csv": ("seed", "stage", "update", "total_update"),
    "returns.csv": ("policy", "total_update", "seed", "return"),
    "flow.csv": ("seed", "stage", "update", "total_update"),
    "ope.csv": tuple(OPE),
}
"""The tables, and columns without which they say nothing."""
DIGITS = 15
"""Of a count, at most."""
HEAD_BYTES = 1 << 16


def lines_of(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as they are written."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def head(path: Path) -> list[str]:
    """The names of the columns; raises RunDirectoryError where the table is missing or damaged."""
    return _head(path, _text(path, HEAD_BYTES).split("\n")[0])


def read(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and the rows; raises RunDirectoryError where the table is missing or damaged."""
    head, rows, wrong = _parsed(path)
    if wrong:
        raise _damaged(path, f"line {wrong[0]} is no row of its columns")
    return head, [row for _, row in rows]


def cut_back(path: Path, total: int) -> bytes:
    """A table without what came after an update; damage there is left out too.

    What was measured when the next stage began, which is measured again, comes after.
    """
    head, rows, wrong = _parsed(path)
    at, update = head.index("total_update"), head.index("update") if "update" in head else None
    kept = [(line, row) for line, row in rows if int(row[at]) <= total]
    if update is not None:
        kept = [(line, row) for line, row in kept if int(row[at]) < total or row[update] != "0"]
    if kept and wrong and wrong[0] < kept[-1][0]:
        raise _damaged(path, f"line {wrong[0]} is no row of its columns")
    return lines_of([head, *(row for _, row in kept)])


def _parsed(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], list[int]]:
    """Names of the columns, rows with their lines, and lines that are no rows."""
    first, *lines = _text(path).split("\n")[:-1] or [""]
    head = _head(path, first)
    rows, wrong = [], []
    for number, line in enumerate(lines, 2):
        row = _split(line)
        if row is not None and len(row) == len(head) and all(map(_fits, head, row)):
            rows.append((number, row))
        else:
            wrong.append(number)
    return head, rows, wrong


def _text(path: Path, most: int = -1) -> str:
    try:
        return regular.read(path, most).decode(errors="replace")
    except FileNotFoundError:
        raise RunDirectoryError(f"{path} is missing") from None
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {reason(error)}") from None


def _head(path: Path, line: str) -> list[str]:
    head = _split(line) or []
    lacking = [name for name in NEEDED[path.name] if name not in head]
    if lacking or len(set(head)) < len(head):
        what = f"its first line lacks {', '.join(lacking)}" if lacking else "its first line has a column twice"
        raise _damaged(path, what)
    return head


def _split(line: str) -> list[str] | None:
    """The fields of a line; None where it has none."""
    try:
        return next(csv.reader([line.removesuffix("\r")], strict=True), None)
    except csv.Error:
        return None


def _fits(name: str, value: str) -> bool:
    """Whether a value is what its column holds."""
    if name in TEXTS:
        return bool(value) and value.isprintable() and "\ufffd" not in value
    if name in COUNTS:
        return value.isascii() and value.isdigit() and len(value) <= DIGITS
    try:
        float(value or 0)
    except ValueError:
        return False
    return True


def _damaged(path: Path, what: str) -> RunDirectoryError:
    return RunDirectoryError(f"{path} is damaged: {what}; restore it, or run the spec again with another --out")
