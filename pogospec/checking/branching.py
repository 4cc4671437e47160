"""Branches: moments that there are, of a step that does the same whatever number of updates it takes."""

from __future__ import annotations

from collections.abc import Iterator

from pogospec.checking.base import Problems
from pogospec.registry import kind_of
from pogospec.spec.branching import updates_of
from pogospec.spec.schema import BranchSpec, Spec, StepSpec
from pogospec.steps.averaging import Window
from pogospec.steps.schedule import Backtracking, Choice, Doubling

ONCE = "but a step that branches is taken once, whole"


def branch_rules(spec: Spec) -> Problems:
    """What a schedule that branches needs."""
    branch, steps, where = spec.schedule.branch, spec.schedule.steps, "schedule.branch"
    if branch is None:
        return
    if spec.schedule.mode == "concurrent":
        yield where, "found a branch, but in concurrent mode all policies train at once; allowed mode: sequential"
        return
    if branch.step >= len(steps) - 1:
        if len(steps) == 1:
            yield where, "found a branch, but no step follows the first; add one, or remove the branch"
        else:
            yield f"{where}.step", f"found {branch.step}, allowed 0 to {len(steps) - 2}: a step that others follow"
        return
    step = steps[branch.step]
    if branch.at[-1] > step.updates:
        found = f"found {branch.at[-1]:,}, but {updates_of(branch)} is {step.updates:,}"
        yield f"{where}.at", f"{found}; allowed 1 to {step.updates:,}, or more updates"
    yield from _step_rules(step, f"schedule.steps[{branch.step}]")
    yield from _average_rules(branch, step, f"{where}.at")


def _step_rules(step: StepSpec, where: str) -> Problems:
    """What the step itself cannot have."""
    if step.repeat > 1:
        yield f"{where}.repeat", f"found {step.repeat}, {ONCE}; allowed 1"
    if step.until is not None:
        kind = kind_of("until", type(step.until))
        yield f"{where}.until", f"found {kind}, which may end the step before a moment of schedule.branch; remove it"
    for tau, place in _taus(step, where):
        if isinstance(tau, (Backtracking, Choice, Doubling)):
            kind = kind_of("tau", type(tau))
            yield place, f"found {kind}, which takes a step again, {ONCE}; allowed other step sizes"
    for name in step.learn:
        if getattr(getattr(step.optimizer, name), "decay", "none") != "none":
            yield (
                f"{where}.optimizer.{name}.decay",
                "found a rate that falls over the updates of the step, which schedule.branch makes many; allowed none",
            )


def _taus(step: StepSpec, where: str) -> Iterator[tuple[object, str]]:
    yield step.tau, f"{where}.tau"
    for number, term in enumerate(step.proximal or ()):
        yield term.tau, f"{where}.proximal[{number}].tau"


def _average_rules(branch: BranchSpec, step: StepSpec, place: str) -> Problems:
    """A window of averaged weights has to be full at the first moment."""
    for name in step.learn:
        law = getattr(getattr(step.optimizer, name), "average", None)
        count = step.policy_updates(branch.at[0]) if name == "policy" else branch.at[0]
        if isinstance(law, Window) and law.window > count:
            window = f"the window of its averaged weights is {law.window:,}"
            yield place, f"found {branch.at[0]:,}, by when the {name} has updated {count:,} times, but {window}"
