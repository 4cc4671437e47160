"""What a sweep writes down before its first cell: all of them, so that one that is interrupted goes on with each.

sweep.json   the cells in the order of the grid: name of the directory, swept paths with their values, resolved spec
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pogospec.checking.recorded import reread
from pogospec.data import kept
from pogospec.errors import RunDirectoryError
from pogospec.launch.job import Job
from pogospec.runs import files
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import dump
from pogospec.spec.resolve import Document, read_text

GRID = "sweep.json"


def record(jobs: Sequence[Job], folder: Path) -> None:
    """Write the cells of a sweep down; others that the folder has stay. Raises RunDirectoryError, OSError."""
    named = [_entry(job.path.name, job.document.cell, dump(kept(job.spec))) for job in jobs]
    before = list(_recorded(folder))
    mine = {entry["run"] for entry in named}
    cells = [*named, *(entry for entry in before if entry["run"] not in mine)]
    if cells != before:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / GRID, {"cells": cells})


def cells_in(folder: Path) -> list[Document]:
    """The cells of a sweep that was begun, in the order of its grid; none where the folder holds no sweep.

    Raises RunDirectoryError where what it holds is damaged.
    """
    recorded = list(_recorded(folder))
    documents = [read_text(entry["spec"], str(folder / GRID))._replace(cell=entry["sweep"]) for entry in recorded]
    return documents + _begun(folder, {entry["run"] for entry in recorded})


def _begun(folder: Path, known: set[str]) -> list[Document]:
    """Cells that have a run directory, but are not written down: older versions did not."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in known and (path / "manifest.json").is_file():
            run = RunDirectory.open(path)
            about = run.manifest
            if about.get("sweep"):
                found.append((about["cell"], reread(run)[0]._replace(cell=about["sweep"])))
    return [document for _, document in sorted(found, key=lambda pair: pair[0])]


def _recorded(folder: Path) -> Iterator[dict[str, Any]]:
    file = folder / GRID
    if not file.exists():
        return
    cells = files.read_json(file)["cells"]
    for cell in cells if isinstance(cells, list) else [None]:
        known = cell if isinstance(cell, dict) else {}
        entry = _entry(*(known.get(key) for key in ("run", "sweep", "spec")))
        texts = isinstance(entry["run"], str) and isinstance(entry["spec"], str)
        if not (texts and isinstance(entry["sweep"], dict) and entry["sweep"]):
            raise RunDirectoryError(f"{file} is damaged; remove it, and run the sweep again into {folder}")
        yield entry


def _entry(run: Any, sweep: Any, spec: Any) -> dict[str, Any]:
    return {"run": run, "sweep": sweep, "spec": spec}
