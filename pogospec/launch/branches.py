"""Branches of a run: the trunk that they share, which runs first, and how each begins with what the trunk had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pogospec.checking.recorded import reread
from pogospec.errors import RunDirectoryError
from pogospec.explain.stages import Stage, stages
from pogospec.launch.job import Job
from pogospec.runs import files, tables
from pogospec.runs.columns import LAST
from pogospec.runs.directory import TABLES, RunDirectory
from pogospec.spec.resolve import Document, Trunk
from pogospec.spec.schema import BranchSpec


def trunks_of(jobs: Sequence[Job]) -> dict[Path, Job]:
    """The trunks of branches, by their directories, in the order of the first branch of each."""
    found: dict[Path, Job] = {}
    for job in jobs:
        trunk, folder = job.document.trunk, job.path.parent
        if trunk is not None and folder / trunk.run not in found:
            path = folder / trunk.run
            begun = (path / "manifest.json").is_file()  # perhaps for branches whose later steps have other numbers
            spec = reread(RunDirectory.open(path))[1] if begun else trunk.spec
            document = job.document._replace(spec=spec, cell={}, trunk=None)
            found[path] = Job("what all branches share", job.dataset, document, spec, path)
    return found


def about(document: Document) -> dict[str, Any]:
    """What the manifest of a branch says of where it branched off; nothing of other runs."""
    trunk = document.trunk
    if trunk is None:
        return {}
    branch, stage = _step(trunk)
    return {"branch": {"trunk": trunk.run, "step": branch.step, "label": stage.label, "at": trunk.at}}


def updates_saved(jobs: Sequence[Job]) -> tuple[int, int]:
    """Updates of branches and their trunks, and those of the same runs one by one."""
    alone = sum(job.updates for job in jobs)
    shared = sum(_before(job.document.trunk) for job in jobs if job.document.trunk is not None)
    trunks = [trunk.document.spec for trunk in trunks_of(jobs).values()]
    once = sum(_until(spec.schedule.branch, spec) for spec in trunks if spec is not None)
    return alone - shared + once, alone


def _before(trunk: Trunk) -> int:
    """Updates that a branch takes over."""
    branch, _ = _step(trunk)
    return _until(branch, trunk.spec) - branch.at[-1] + trunk.at


def _until(branch: BranchSpec | None, spec: Any) -> int:
    """Updates to the end of the step that branches."""
    assert branch is not None
    return sum(step.spent * step.repeat for step in spec.schedule.steps[: branch.step + 1])


def _step(trunk: Trunk) -> tuple[BranchSpec, Stage]:
    branch = trunk.spec.schedule.branch
    assert branch is not None
    return branch, next(one for one in stages(trunk.spec) if one.path == f"schedule.steps[{branch.step}]")


def begin_with(run: RunDirectory, trunk: Trunk) -> None:
    """Let a new run take over what its trunk had when it branched off; raises RunDirectoryError.

    Rows of metrics up to there; of returns and measurements those before, since the end of a step has its own. The
    checkpoint comes last: where it is missing, the run begins from nothing, and ends the same.
    """
    other = RunDirectory.open(run.path.parent / trunk.run)
    branch, stage = _step(trunk)
    total = max(other.checkpoints(), default=0) - branch.at[-1] + trunk.at
    if total not in other.checkpoints():
        raise RunDirectoryError(f"{other.path} holds no checkpoint after {total:,} updates; remove it, and resume")
    for name in TABLES:
        head, end = tables.head(run.path / name), total + (name == "metrics.csv")
        rows = [row for row in other.read(name) if int(row["total_update"]) < end]
        files.publish(run.path / name, tables.lines_of([head, *([row.get(key, "") for key in head] for row in rows)]))
    before = [one for one in stages(trunk.spec) if one.index < stage.index]
    labels = {one.label for one in before if one.learns_policy}
    if any("behavior" in one.step.learn for one in before):
        labels.add("behavior")
    for label in other.policies(last=True):
        if label.removesuffix(LAST) in labels:
            run.save_policy(label, *other.load_policy(label))
    run.save_checkpoint(total, *other.load_checkpoint_of(total))
    run.status("interrupted", "branched off", total)
