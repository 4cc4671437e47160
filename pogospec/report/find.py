"""Paths that a user names -> run directories."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pogospec.errors import RunDirectoryError
from pogospec.runs import RunDirectory

NEEDED = ("name", "digest", "dataset", "reference", "seeds", "episodes", "action", "versions")


def open_runs(paths: Sequence[Path]) -> tuple[list[RunDirectory], list[str]]:
    """The runs that paths name, each once, and what was passed over.

    A path is a run directory or a directory that holds some, at any depth. Files and directories without
    runs, as a glob finds them, are passed over where another path leads to a run; a path that does not
    exist never is. Raises RunDirectoryError, one message for all paths.
    """
    found: dict[Path, Path] = {}
    missing, other = [], []
    for path in paths:
        if not path.exists():
            missing.append(f"{path} (does not exist)")
            continue
        inside = sorted(_inside(path)) if path.is_dir() else []
        if not inside:
            what = "holds no run" if path.is_dir() else "is a file"
            other.append(f"{path} ({what})")
        for run in inside:
            found.setdefault(run.resolve(), run)
    if missing or not found:
        raise RunDirectoryError(
            f"no run: {', '.join(missing + other)}; a run directory holds manifest.json, "
            "and `pogospec list runs` shows runs"
        )
    return [_checked(path) for path in found.values()], other


def _inside(path: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(path):
        if "manifest.json" in files:
            below.clear()
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _checked(path: Path) -> RunDirectory:
    run = RunDirectory.open(path)
    manifest = run.manifest
    lacking = [key for key in NEEDED if key not in manifest] if isinstance(manifest, dict) else list(NEEDED)
    if lacking:
        raise RunDirectoryError(f"{path / 'manifest.json'} is no manifest of a run: it lacks {', '.join(lacking)}")
    return run
