"""What a sweep writes down before its first cell: all of them, so that one that is interrupted goes on with each.

sweep.json   the cells in the order of the grid: name of the directory, swept paths with their values, resolved spec;
             of branches also the directory of their trunk and the updates where each branches off; the trunks' specs
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
from pogospec.spec.resolve import Document, Trunk, read_text

GRID = "sweep.json"


def record(jobs: Sequence[Job], folder: Path) -> None:
    """Write the cells of a sweep down; others that the folder has stay. Raises RunDirectoryError, OSError."""
    named = [_entry(job.path.name, job.document.cell, dump(kept(job.spec))) | _trunk(job.document) for job in jobs]
    before, trunks = list(_recorded(folder)), _trunks(folder)
    mine = {entry["run"] for entry in named}
    cells = [*named, *(entry for entry in before if entry["run"] not in mine)]
    found = [job.document.trunk for job in jobs if job.document.trunk is not None]
    trunks = {trunk.run: dump(kept(trunk.spec)) for trunk in reversed(found)} | trunks
    if cells != before:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / GRID, {"cells": cells} | ({"trunks": trunks} if trunks else {}))


def _trunk(document: Document) -> dict[str, Any]:
    trunk = document.trunk
    return {} if trunk is None else {"trunk": trunk.run, "at": trunk.at}


def cells_in(folder: Path) -> list[Document]:
    """The cells of a sweep that was begun, in the order of its grid; none where the folder holds no sweep.

    Raises RunDirectoryError where what it holds is damaged.
    """
    recorded = list(_recorded(folder))
    trunks = {name: read_text(text, str(folder / GRID)).spec for name, text in _trunks(folder).items()}
    documents = []
    for entry in recorded:
        document = read_text(entry["spec"], str(folder / GRID))._replace(cell=entry["sweep"])
        whole = trunks.get(entry.get("trunk", ""))
        documents.append(
            document if whole is None else document._replace(trunk=Trunk(entry["trunk"], whole, entry["at"]))
        )
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
        branch = {key: known[key] for key in ("trunk", "at") if key in known}
        good = not branch or (isinstance(branch.get("trunk"), str) and type(branch.get("at")) is int)
        if not (texts and good and isinstance(entry["sweep"], dict) and entry["sweep"]):
            raise _damaged(folder)
        yield entry | branch


def _trunks(folder: Path) -> dict[str, str]:
    """The specs of the trunks of branches, by their directories."""
    file = folder / GRID
    found = dict(files.read_json(file)).get("trunks", {}) if file.exists() else {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise _damaged(folder)
    return found


def _damaged(folder: Path) -> RunDirectoryError:
    return RunDirectoryError(f"{folder / GRID} is damaged; remove it, and run the sweep again into {folder}")


def _entry(run: Any, sweep: Any, spec: Any) -> dict[str, Any]:
    return {"run": run, "sweep": sweep, "spec": spec}
