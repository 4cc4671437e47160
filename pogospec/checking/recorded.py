"""The spec in a run directory, read again: it must say what it said when the run began."""

from __future__ import annotations

import hashlib
import json

from pogospec.checking.check import checked
from pogospec.errors import RunDirectoryError, SpecError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import decisive, digest
from pogospec.spec.resolve import Document, read
from pogospec.spec.schema import Spec


def identity(spec: Spec, data_sha256: str) -> str:
    """SHA-256 of what decides the numbers of a run: its spec and its data, wherever they lie."""
    plain = decisive(spec)
    del plain["about"], plain["data"]["dataset"]
    text = json.dumps([plain, data_sha256], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def reread(run: RunDirectory) -> tuple[Document, Spec]:
    """The spec of a run; raises RunDirectoryError where it was edited since, SpecError where it is none any more.

    Layout, comments and where the data lie may change. Directories of format 1 do not tell; where such a spec is not
    the one that was run, as this version reads it, there is a note.
    """
    file, untouched = run.path / "spec.yaml", run.untouched()
    try:
        document = read(file)
        spec = checked(document)
    except SpecError as error:
        if untouched:
            raise
        first = error.problems[0]
        raise RunDirectoryError(f"{_edited(run)} ({first.message})") from None
    about = run.manifest
    if not untouched and identity(spec, about["data_sha256"]) != about["identity"]:
        raise RunDirectoryError(_edited(run))
    if "identity" not in about and about["digest"] != digest(spec):
        run.notes.append(f"{file} is not the spec that the run began with, or another version reads it otherwise")
    return document, spec


def _edited(run: RunDirectory) -> str:
    file = run.path / "spec.yaml"
    return (
        f"{file} was edited or damaged since the run began; restore it, or begin another run with: "
        f"pogospec run {file} --out OTHER"
    )
