"""Whether a page still shows what its runs hold: times and sizes of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pogospec.report.page.films import files_of
from pogospec.runs.directory import RunDirectory

LOOKED_AT = ("status.json", "metrics.csv", "returns.csv", "flow.csv", "ope.csv", "manifest.json")
"""Files of a run that a page shows, but for films."""


def fingerprint(runs: Sequence[RunDirectory], films: Sequence[Path] = ()) -> str:
    """What changes whenever a run, or a film that was named, was written anew; raises OSError where a run is gone."""
    found = []
    for path in [*(path for run in runs for path in _files(run)), *films]:
        try:
            about = path.stat()
        except OSError:
            continue
        found.append(f"{path} {about.st_mtime_ns} {about.st_size}")
    return hashlib.sha256("\n".join(found).encode(errors="surrogateescape")).hexdigest()[:16]


def _files(run: RunDirectory) -> list[Path]:
    return [*(run.path / name for name in LOOKED_AT), *files_of(run)]
