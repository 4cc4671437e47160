"""Imported datasets: one safetensors file each, columns as in `files.py`, in the folder of POGOSPEC_DATA_DIR.

Minari's layout would lose rows: it has no place for a next observation that is not the next row's, nor for the last
step of an episode whose next observation is unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pogospec.data.d4rl import folders
from pogospec.data.files import Bounds, load_file, read_file
from pogospec.data.logged import Logged
from pogospec.errors import DataError, UsageError

SUFFIX = ".safetensors"
ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)


def root() -> Path:
    """The folder of imported datasets."""
    return folders()[0]


def file_of(dataset_id: str) -> Path:
    """The file of an imported dataset."""
    return root() / f"{dataset_id}{SUFFIX}"


def local_ids() -> list[str]:
    """Ids of the imported datasets."""
    files = root().glob(f"**/*{SUFFIX}")
    return sorted(file.relative_to(root()).as_posix().removesuffix(SUFFIX) for file in files)


def load_local(dataset_id: str) -> Logged:
    """Read an imported dataset; raises DataError where its file is damaged."""
    found = load_file(str(file_of(dataset_id)))
    return found._replace(id=dataset_id)


def import_file(
    path: Path,
    dataset_id: str,
    environment: str | None = None,
    bounds: Bounds | None = None,
    taken: Sequence[str] = (),
    overwrite: bool = False,
) -> Logged:
    """Check a file of columns and store it as a dataset of the given id, which may not be one of `taken`.

    Raises UsageError for an id that cannot be used, DataError for data that cannot be used.
    """
    _check_id(dataset_id, taken, overwrite)
    found = read_file(path, dataset_id, environment, bounds)
    wrong = found.faults()
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"{path}: {wrong[0]}{more}; look at all of it with: pogospec data inspect file:{path}")
    _write(found, file_of(dataset_id))
    return found._replace(file=file_of(dataset_id))


def _check_id(dataset_id: str, taken: Sequence[str], overwrite: bool) -> None:
    if not ID.fullmatch(dataset_id) or dataset_id.lower().startswith(("pocket/", "d4rl/")):
        raise UsageError(
            f"--id: found '{dataset_id}', allowed letters, digits, '_', '-' and '.' in parts joined by '/', not "
            "beginning with pocket/ or d4rl/; for example mine/hopper-v0"
        )
    if dataset_id in taken:
        raise UsageError(f"--id: '{dataset_id}' is a Minari dataset already; choose another id")
    if file_of(dataset_id).exists() and not overwrite:
        raise UsageError(f"--id: {file_of(dataset_id)} exists; choose another id, or add --overwrite")


def _write(found: Logged, file: Path) -> None:
    """Write columns, bounds and environment; whole or not at all."""
    from safetensors.numpy import save_file

    columns = found.columns
    names = ("observations", "actions", "rewards", "terminated", "truncated", "next_observations")
    arrays = {name: getattr(columns, name) for name in names if getattr(columns, name) is not None}
    arrays |= {"low": np.asarray(found.low), "high": np.asarray(found.high)}
    about = {"source": found.file.name, "source_sha256": found.sha256}
    about |= {"environment": found.environment} if found.environment is not None else {}
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, part, about)
        os.replace(part, file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(
            f"{file} cannot be written: {error.strerror or error}; set POGOSPEC_DATA_DIR to a folder that can"
        ) from None
