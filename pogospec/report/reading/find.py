"""Paths that a user names -> run directories."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pogospec.errors import RunDirectoryError
from pogospec.runs.directory import RunDirectory, run_name
from pogospec.runs.files import read_json
from pogospec.spec.suite import suite_name
from pogospec.terminal import command

PLAN = "suite.json"
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
        if not os.path.exists(path):
            missing.append(f"{path} (does not exist)")
            continue
        held = sorted(inside(path)) if path.is_dir() else []
        if not held:
            what = "holds no run" if path.is_dir() else "is a file"
            other.append(f"{path} ({what})")
        for run in held:
            found.setdefault(run.resolve(), run)
    if missing or not found:
        raise RunDirectoryError(
            f"no run: {', '.join(missing + other)}; a run directory holds manifest.json, "
            "and `pogospec list runs` shows runs"
        )
    return [_checked(path) for path in found.values()], other


class Plan(NamedTuple):
    """What a suite wrote down: the runs of its folder by name, each with its method and dataset, in its order."""

    name: str
    folder: Path
    runs: dict[str, tuple[str, str]]


def open_plan(path: Path) -> Plan | None:
    """The plan of a suite, by its folder or its file; None for other paths; raises RunDirectoryError.

    The runs of a file are those in the folder that `pogospec suite FILE` takes.
    """
    folder = path
    if os.path.isfile(path) and path.suffix in (".yaml", ".yml"):
        folder = Path("runs") / run_name(suite_name(path))
        if not (folder / PLAN).is_file():
            raise RunDirectoryError(
                f"{path}: no runs in {folder}; start them with: {command('suite', path)}, or name the folder of --out"
            )
    file = folder / PLAN
    if not os.path.lexists(file):
        return None
    try:
        content = read_json(file)
        runs = {entry["run"]: (entry["method"], entry["dataset"]) for entry in content["runs"]}
        texts = [content["name"], *runs, *(text for pair in runs.values() for text in pair)]
        if all(isinstance(text, str) for text in texts) and not any(
            Path(name).name != name or name == ".." for name in runs
        ):
            return Plan(content["name"], folder, runs)
    except (RunDirectoryError, KeyError, TypeError):
        pass
    raise RunDirectoryError(f"{file} is damaged; remove it, and `pogospec suite` writes it again")


def open_planned(plan: Plan) -> list[RunDirectory]:
    """The runs of a suite that have begun; raises RunDirectoryError where none has."""
    found = [plan.folder / name for name in plan.runs if (plan.folder / name / "manifest.json").is_file()]
    if not found:
        raise RunDirectoryError(f"{plan.folder} holds no run of the suite '{plan.name}' yet")
    return [_checked(path) for path in found]


def open_any(paths: Sequence[Path]) -> tuple[list[RunDirectory], Plan | None, list[str]]:
    """The runs that paths name, the plan where the one path is a suite, and what was passed over; raises as both do."""
    plan = open_plan(paths[0]) if len(paths) == 1 else None
    if plan is not None:
        return open_planned(plan), plan, []
    found, other = open_runs(paths)
    return found, None, other


def inside(path: Path) -> Iterator[Path]:
    """Run directories in a folder, at any depth, but hidden ones; raises OSError where it cannot be read."""

    def refused(error: OSError) -> None:
        if error.filename == str(path) and not isinstance(error, FileNotFoundError):
            raise error

    for folder, below, files in os.walk(path, onerror=refused):
        if "manifest.json" in files:
            below.clear()
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _checked(path: Path) -> RunDirectory:
    run = RunDirectory.open(path)
    manifest = run.manifest
    lacking = [key for key in NEEDED if key not in manifest]
    if lacking:
        raise RunDirectoryError(f"{path / 'manifest.json'} is no manifest of a run: it lacks {', '.join(lacking)}")
    return run
