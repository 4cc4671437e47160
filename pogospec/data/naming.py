"""Names of columns: those that data need, those that other projects give them, and what to do about what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pogospec.errors import DataError
from pogospec.registry import nearest
from pogospec.terminal import command

NAMES = {
    "observations": ("observations",),
    "actions": ("actions",),
    "rewards": ("rewards",),
    "terminated": ("terminals", "terminations", "terminated"),
    "truncated": ("timeouts", "truncations", "truncated"),
}
"""Column -> the names under which files hold it."""
WRONG = {
    "observations": ("obs", "states", "state"),
    "actions": ("act", "acts"),
    "rewards": ("rews", "rew", "r"),
    "terminated": ("dones", "done", "is_terminal", "ends"),
    "truncated": ("time_outs", "time_limits"),
}
"""Column -> names that other projects give it."""
FLAGS = ("terminated", "truncated")
MIXED = ("dones", "done")
"""Names of columns that mark terminations and time limits alike."""
OTHERS = ("next_observations", "final_observations")
"""Columns that data may have beside those."""
ALIKE = 0.75
"""How alike a column's name is to one that is missing, where it may be meant."""
SHOWN = 20
"""Names of columns that a message lists, at most."""
Sources = Mapping[str, Sequence[str]]
"""Column -> the columns of a file that it is made of."""


class Given(NamedTuple):
    """What is said of a file beside it: names of its columns, what columns are made of, a limit as in `read_file`."""

    names: Sequence[str] = ()
    sources: Sources = {}
    limit: int | None = None


NOTHING = Given()


def resolve(found: list[str], path: Path, given: Given = NOTHING) -> dict[str, str]:
    """Column -> its name in the file; raises DataError that names what is missing and what may be meant."""
    names, missing = {}, []
    for column, aliases in NAMES.items():
        present = [alias for alias in aliases if alias in found]
        if len(present) > 1:
            raise DataError(f"{path}: found both {' and '.join(present)}, allowed one of them; remove the other")
        if present and column == "truncated" and given.limit is not None:
            raise DataError(f"{path}: found {present[0]}, which tells time limits; leave --max-episode-steps out")
        if present:
            names[column] = present[0]
        elif column != "truncated" or given.limit is None:
            missing.append(column)
    if not missing:
        return names
    used = {*names.values(), *(member for members in given.sources.values() for member in members)}
    own = list(given.names or found)
    asked = [f"{NAMES[m][0]} (or {', '.join(NAMES[m][1:])})" if NAMES[m][1:] else m for m in missing]
    hint = _hint(missing, [name for name in own if name not in used], path, given)
    raise DataError(
        f"{path}: missing {'columns' if len(missing) > 1 else 'column'} {' and '.join(asked)}; found "
        f"{listed(own)}{hint and f'; {hint}'}"
    )


def _hint(missing: Sequence[str], rest: Sequence[str], path: Path, given: Given) -> str:
    """What to do about missing columns, from those of the file that no one asked for, as one command."""
    meant = {column: close for column in missing if (close := _meant(column, rest)) is not None}
    mapped = given.sources.get("terminals", ())
    mixed = next((name for name in (*rest, *mapped) if name.lower() in MIXED), None)
    if given.limit is not None or "truncated" in meant or not {*FLAGS} & {*missing}:
        mixed = None
    # with a time limit it is all that is needed
    enough = mixed is not None and "truncated" in missing and ("terminated" in missing or mixed in mapped)
    if mixed is not None:
        meant.pop("terminated", None)
    texts = [_renaming(meant)] if meant else []
    if mixed is not None:
        both = f"'{mixed}' does not tell terminations from time limits: state both, as terminals and timeouts"
        texts.append(f"{both}, or the time limit N, at whose step an end is none" if enough else both)
    elif "truncated" in missing and "truncated" not in meant:
        texts.append("where no episode was cut, timeouts are all false")
    told = "; ".join(texts)
    return f"{told}: {_importing(missing, meant, mixed if enough else None, path, given)}" if meant or enough else told


def _renaming(meant: Mapping[str, str]) -> str:
    if len(meant) == 1:
        column, close = next(iter(meant.items()))
        return f"did you mean '{close}'? Rename it to {NAMES[column][0]}, or store it so"
    pairs = ", ".join(f"'{close}' for {NAMES[column][0]}" for column, close in meant.items())
    return f"did you mean {pairs}? Rename them, or store them so"


def _importing(missing: Sequence[str], meant: Mapping[str, str], mixed: str | None, path: Path, given: Given) -> str:
    """The command that stores a file with its columns renamed; `mixed`: the column of all ends of episodes."""
    columns = {name: ",".join(members) for name, members in given.sources.items()}
    columns |= {NAMES[one][0]: meant.get(one, "COLUMN") for one in missing if one in meant or one not in FLAGS}
    columns |= {} if mixed is None else {"terminals": mixed}
    options = [part for name, members in columns.items() for part in ("--column", f"{name}={members}")]
    limit = given.limit or (None if mixed is None else "N")
    options += [] if limit is None else ["--max-episode-steps", str(limit)]
    name = f"mine/{re.sub(r'[^A-Za-z0-9_.-]', '-', path.stem).lstrip('.-') or 'data'}"
    return command("data", "import", path, "--id", name, *options)


def _meant(column: str, rest: Sequence[str]) -> str | None:
    """The column of a file that is likely to be a missing one."""
    ends = {name: name.rpartition("/")[2].lower() for name in rest}  # of columns in groups
    ends = {name: end for name, end in ends.items() if not end.startswith("next") and end not in OTHERS}
    close = next((name for name, end in ends.items() if end in WRONG[column]), None)
    for alias in NAMES[column]:
        alike = nearest(alias, ends.values(), ALIKE)
        close = close or next((name for name, end in ends.items() if end == alike), None)
    return close


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first of many."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
