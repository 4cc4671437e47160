"""Imported datasets: one safetensors file each, columns as in `tables.py`, in the folder of POGOSPEC_DATA_DIR.

Minari's layout would lose rows: it has no place for a next observation that is not the next row's, nor for the last
step of an episode whose next observation is unknown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pogospec.data import catalog
from pogospec.data.formats import as_text
from pogospec.data.logged import Logged
from pogospec.data.sources.base import Entry, Source, header, own_folder, walk
from pogospec.data.sources.file import PREFIX
from pogospec.data.staged import Room
from pogospec.data.tables import Bounds, Sources, read_file
from pogospec.data.tasks.references import STATED
from pogospec.errors import DataError, UsageError

SUFFIX = ".safetensors"
ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)


def file_of(dataset_id: str) -> Path:
    """The file of an imported dataset."""
    return own_folder() / f"{dataset_id}{SUFFIX}"


class Imported(Source):
    """Datasets of your own, by the ids that `pogospec data import` gave them; they go before Minari's."""

    label, form = "imported", "the id of a dataset imported here"
    in_parts = True

    def owns(self, dataset_id: str) -> bool:
        """Whether it was imported here: any other name may be an id as well."""
        return os.path.isfile(file_of(dataset_id))

    def find(self, dataset_id: str) -> Path:
        """The file that an import wrote."""
        return file_of(dataset_id)

    def read(
        self,
        dataset_id: str,
        environment: str | None = None,
        observe: Sequence[str] | None = None,
        room: Room | None = None,
    ) -> Logged:
        """Read an imported dataset; raises DataError where its file is damaged."""
        try:
            found = read_file(file_of(dataset_id), dataset_id, room=room)
        except DataError as error:
            raise DataError(f"data.dataset: {error}") from None
        return found._replace(remedy="import them again, with --low and --high")

    def ids(self) -> list[str]:
        """Ids of the imported datasets."""
        root = own_folder()
        files = (folder / name for folder, _, names in walk(root) for name in names if name.endswith(SUFFIX))
        return sorted(file.relative_to(root).as_posix().removesuffix(SUFFIX) for file in files)

    def describe(self, dataset_id: str) -> Entry:
        """What the header of the file says."""
        file = file_of(dataset_id)
        rows, stated = header(file)
        source = as_text(stated.get("source"))
        about = f"imported into {own_folder()}" + (f" from {source}" if source else "")
        return Entry(dataset_id, self.label, as_text(stated.get("environment")), rows, about, str(file))

    def fetch(self, dataset_id: str) -> Path:
        """Where it lies already."""
        return file_of(dataset_id)


def import_file(
    path: Path,
    dataset_id: str,
    environment: str | None = None,
    bounds: Bounds | None = None,
    overwrite: bool = False,
    sources: Sources | None = None,
    limit: int | None = None,
) -> Logged:
    """Check a file of columns and store it as a dataset of the given id, which may be no other source's.

    `sources`: column -> columns of the file that it is made of, where they have other names. `limit`: the step at which
    an end is a time limit, where one column marks all ends.

    Raises UsageError for an id that cannot be used, DataError for data that cannot be used.
    """
    _check_id(dataset_id, overwrite)
    found = read_file(path, dataset_id, environment, bounds, sources, limit)
    wrong = found.faults()
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"{path}: {wrong[0]}{more}; look at all of it with: pogospec data inspect {PREFIX}{path}")
    _write(found, file_of(dataset_id))
    return found._replace(file=file_of(dataset_id))


def _check_id(dataset_id: str, overwrite: bool) -> None:
    others = [source for source in catalog.sources() if not isinstance(source, Imported)]
    taken = [source.prefix for source in others if ID.fullmatch(f"{source.prefix}x") and source.prefix]
    if not ID.fullmatch(dataset_id) or dataset_id.lower().startswith(tuple(prefix.lower() for prefix in taken)):
        raise UsageError(
            f"--id: found '{dataset_id}', allowed letters, digits, '_', '-' and '.' in parts joined by '/', not "
            f"beginning with {' or '.join(taken)}; for example mine/hopper-v0"
        )
    owner = next((source for source in others if dataset_id in source.ids()), None)
    if owner is not None:
        raise UsageError(f"--id: '{dataset_id}' is a {owner.label} dataset already; choose another id")
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
    if found.reference is not None and found.reference.label == STATED:
        about |= {"ref_min_score": str(found.reference.low), "ref_max_score": str(found.reference.high)}
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
