"""Judges of steps: what they compare with, what they are measured on, and the rules that ask them."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import HOLD_OUT, Problems, holds_out
from pogospec.registry import kind_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.schedule import Backtracking, Choice
from pogospec.steps.until import Judged


def judge_rules(spec: Spec, step: StepSpec, earlier: set[str], where: str) -> Problems:
    """What a judge needs, and what needs one; `earlier`: what was learned before the step."""
    yield from _kept_optimisers(spec, step, where)
    if step.judge is None:
        yield from _without(step, where)
        return
    place, judge = f"{where}.judge", step.judge
    if spec.target is not None:
        yield place, "reads held-out episodes, which a known energy has not; remove it"
        return
    if spec.schedule.mode == "concurrent":
        yield place, "takes one step back, but in concurrent mode all train at once; allowed mode: sequential"
        return
    if spec.policy.borrows:
        yield place, "compares weights of the policy, which particles have not; remove it"
        return
    if not holds_out(spec):
        yield place, HOLD_OUT
    if "policy" not in earlier and step.start == "as_is":
        yield (
            place,
            "compares with the policy that the step begins with, which nothing has learned; put a step that learns "
            "the behavior before, and set start: behavior",
        )
    for tau, at in _sizes(step, where):
        if isinstance(tau, Backtracking) and tau.errors != Backtracking(tau.start).errors:
            yield (
                f"{at}.errors",
                f"found {tau.errors:g}, but the judge decides by its own; remove it, and set judge.errors",
            )
        if isinstance(tau, Backtracking) and isinstance(step.until, Judged):
            yield (
                at,
                "backtracking tries sizes until one is taken, but until: judged ends the step with the best check; use "
                "tau: {kind: choice, of: [...]}, or another until",
            )
    kind = kind_of("judge", type(judge))
    if kind == "ensemble_bound" and "critic" not in {*earlier, *step.learn}:
        yield place, "asks critics, which nothing has learned by then; put a step that learns the critic before"
    if isinstance(step.until, Judged) and judge.by_critic and "critic" in step.learn:
        yield (
            f"{where}.until",
            f"compares checks by the step's own critic, which moves meanwhile, found judge: {kind}; allowed fqe, "
            "cross_fitted, or a step that does not learn the critic",
        )
    yield from ((f"{place}.{key}" if key else place, text) for key, text in judge.refused(spec, step))


def _kept_optimisers(spec: Spec, step: StepSpec, where: str) -> Problems:
    """Optimisers that go on after a step that may not be taken: they would be of a policy that is gone."""
    steps = spec.schedule.steps
    place = next(number for number, one in enumerate(steps) if one is step)
    before = step.judge is not None and step.repeat > 1
    before |= place > 0 and steps[place - 1].judge is not None and "policy" in step.learn
    if step.optimizer_state == "keep" and before:
        yield (
            f"{where}.optimizer_state",
            "found 'keep', but a judge may take the step before back, whose optimisers would go on; allowed reset",
        )


def _without(step: StepSpec, where: str) -> Problems:
    """Rules that ask a judge, where there is none."""
    rules: list[tuple[Any, str]] = [(step.until, f"{where}.until"), (step.repeat_until, f"{where}.repeat_until")]
    for rule, place in [*rules, *_sizes(step, where)]:
        if isinstance(rule, (Judged, Choice)):
            yield place, "asks the judge of the step, which has none; add one, such as the cautious judge: fqe"


def _sizes(step: StepSpec, where: str) -> list[tuple[Any, str]]:
    terms = [(term.tau, f"{where}.proximal[{number}].tau") for number, term in enumerate(step.proximal or ())]
    return [*terms, (step.tau, f"{where}.tau")]
