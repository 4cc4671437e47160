"""A schedule that branches -> the trunk, which runs once, and the spec of each branch.

A branch is the ordinary spec in which the step takes as many updates as the moment says. The trunk is the whole spec
too, since what a step does may depend on later ones (which slow copies are needed, what is drawn); it ends with the
step. Trunks whose later steps differ in their numbers alone are one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

from pogospec.spec.build import decisive
from pogospec.spec.resolve import Document, Trunk
from pogospec.spec.schema import BranchSpec, ScheduleSpec, Spec, StepSpec

HIDDEN = ".trunk-"
"""What the directories of trunks begin with: commands that look for runs in a folder pass them over."""


def branches(document: Document) -> Iterator[Document]:
    """A document for each moment of a checked one; the document itself where its schedule does not branch."""
    spec = document.spec
    if spec is None or spec.schedule.branch is None:
        yield document
        return
    branch = spec.schedule.branch
    path = updates_of(branch)
    whole, written = trunk_of(spec), document.origins.get("schedule.branch.at")
    origins = document.origins if written is None else document.origins | {path: written}
    for at in branch.at:
        own = with_updates(spec, branch, at, None)
        yield document._replace(
            spec=own, origins=origins, cell=document.cell | {path: at}, trunk=Trunk(name_of(whole), whole, at)
        )


def updates_of(branch: BranchSpec) -> str:
    """The path of what the moments vary."""
    return f"schedule.steps[{branch.step}].updates"


def trunk_of(spec: Spec) -> Spec:
    """The spec of the trunk, which runs to the last moment."""
    branch = spec.schedule.branch
    assert branch is not None
    untold = replace(spec, train=replace(spec.train, track=()))  # trackers hear of it in each branch
    return with_updates(untold, branch, branch.at[-1], branch)


def with_updates(spec: Spec, branch: BranchSpec, at: int, kept: BranchSpec | None) -> Spec:
    """The spec whose step takes so many updates."""
    steps = list(spec.schedule.steps)
    steps[branch.step] = replace(steps[branch.step], updates=at)
    return replace(spec, schedule=replace(spec.schedule, steps=tuple(steps), branch=kept))


def name_of(trunk: Spec) -> str:
    """The name of the directory of a trunk: the same for all that share its updates."""
    plain, branch = decisive(trunk), trunk.schedule.branch
    assert branch is not None
    steps = plain["schedule"]["steps"]
    plain["schedule"]["steps"] = steps[: branch.step + 1] + [step["learn"] for step in steps[branch.step + 1 :]]
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return HIDDEN + hashlib.sha256(text.encode()).hexdigest()[:8]


def stages_of(schedule: ScheduleSpec) -> int | None:
    """How many stages a run takes: of a trunk those up to its step, else all (None)."""
    if schedule.branch is None:
        return None
    return sum(step.repeat for step in schedule.steps[: schedule.branch.step + 1])


def moments(schedule: ScheduleSpec, step: StepSpec) -> tuple[int, ...]:
    """The updates of a step of a trunk after which its state is kept; none of other steps."""
    branch = schedule.branch
    return branch.at if branch is not None and schedule.steps[branch.step] is step else ()
