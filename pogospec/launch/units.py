"""Jobs as units of an engine: written down whole by whoever submits them, and read by the worker that trains them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pogospec import modules
from pogospec.checking.check import checked
from pogospec.data import kept
from pogospec.engines import unit
from pogospec.engines.unit import Resources, Unit
from pogospec.errors import Origin
from pogospec.launch.job import Job
from pogospec.runs.versions import python, versions
from pogospec.spec.build import dump
from pogospec.spec.resolve import Document, Trunk, read_text


def write(jobs: Sequence[Job], numbers: Sequence[int], resources: Resources, device: str | None) -> Unit:
    """Write jobs that train in one program down, in the folder of their runs; `numbers`: their places among all.

    Raises OSError.
    """
    first = jobs[0].path
    content = {
        "runs": [_entry(job, number) for job, number in zip(jobs, numbers, strict=True)],
        "trunks": {t.run: dump(kept(t.spec)) for t in (job.document.trunk for job in jobs) if t is not None},
        "device": device,
        "modules": modules.allowed(),
        "versions": versions() | {"python": python()},
    }
    return unit.write(first.parent, first.name, resources, content)


def _entry(job: Job, number: int) -> dict[str, Any]:
    """All that is known of a job: where its values were written too, for messages."""
    trunk = job.document.trunk
    return {
        "run": job.path.name,
        "method": job.method,
        "dataset": job.dataset,
        "number": number,
        "cell": job.document.cell,
        "spec": dump(kept(job.spec)),
        "source": job.document.source,
        "origins": {path: list(origin) for path, origin in job.document.origins.items()},
        "trunk": None if trunk is None else [trunk.run, trunk.at],
    }


def read(content: dict[str, Any], folder: Path) -> tuple[list[Job], list[int]]:
    """The jobs of a unit, and their numbers; raises SpecError, and UsageError for specs of another version."""
    whole = {name: checked(read_text(text, name)) for name, text in content["trunks"].items()}
    jobs = [_job(entry, whole, folder) for entry in content["runs"]]
    return jobs, [entry["number"] for entry in content["runs"]]


def _job(entry: dict[str, Any], whole: dict[str, Any], folder: Path) -> Job:
    spec = checked(read_text(entry["spec"], entry["source"]))
    origins = {path: Origin(*parts) for path, parts in entry["origins"].items()}
    trunk = None if entry["trunk"] is None else Trunk(entry["trunk"][0], whole[entry["trunk"][0]], entry["trunk"][1])
    document = Document(spec, [], origins, entry["source"], entry["cell"], trunk)
    return Job(entry["method"], entry["dataset"], document, spec, folder / entry["run"])
