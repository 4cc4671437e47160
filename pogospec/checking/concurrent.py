"""Policies that train at once: what must be learned before them, and what none can have of its own."""

from __future__ import annotations

from pogospec.checking.base import Problems
from pogospec.registry import kind_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.schedule import Backtracking, Choice, Doubling

MOST_AT_ONCE = 64
"""Policies in one chain: a program holds the updates of each, and compiling it takes as long."""
LEARNED_ONCE = "but in concurrent mode critic and behaviour are learned by the first policy's step, or before it"


def concurrent_rules(spec: Spec) -> Problems:
    """What training all policies of a schedule at once leaves no room for."""
    schedule = spec.schedule
    if schedule.mode == "sequential":
        return
    actors = [index for index, step in enumerate(schedule.steps) if "policy" in step.learn]
    if spec.target is not None or not actors:
        why = (
            "no step learns a policy"
            if not actors
            else "on a known energy there is no critic that is learned meanwhile"
        )
        yield "schedule.mode", f"found 'concurrent', but {why}; allowed sequential"
        return
    if schedule.at_once > MOST_AT_ONCE:
        yield (
            "schedule.mode",
            f"found {schedule.at_once:,} policies at once, allowed up to {MOST_AT_ONCE}; lower repeat",
        )
    first = schedule.steps[actors[0]]
    before = {name for step in schedule.steps[: actors[0]] for name in step.learn}
    for index, step in enumerate(schedule.steps[actors[0] :], actors[0]):
        where = f"schedule.steps[{index}]"
        further = index > actors[0]
        if step.learn != ("policy",) and (further or step.repeat > 1):
            key, found = ("learn", ", ".join(step.learn)) if further else ("repeat", step.repeat)
            then = "" if further else "; allowed 1, and a step {from: previous, learn: [policy]} with the others"
            yield f"{where}.{key}", f"found {found}, {LEARNED_ONCE}{then}"
        elif further or step.repeat > 1:
            yield from _further_rules(first, before, step, where)
        yield from _together_rules(step, where)


def _further_rules(first: StepSpec, before: set[str], step: StepSpec, where: str) -> Problems:
    """What a policy that is not the first of a chain cannot have of its own."""
    if step.updates != first.updates:
        found = f"found {step.updates:,}, but in concurrent mode all policies train in the same updates"
        yield f"{where}.updates", f"{found}; allowed {first.updates:,}, those of the first"
    if step.target_every not in (first.target_every, None):
        found = f"found {step.target_every}, but in concurrent mode slow copies move as the first policy's step says"
        yield f"{where}.target_every", f"{found}; remove it"
    if step.optimizer_state == "keep":
        yield (
            f"{where}.optimizer_state",
            "found 'keep', but the optimiser of a further policy is its own; allowed reset",
        )
    if step.start == "behavior" and "behavior" not in before:
        yield f"{where}.start", "found 'behavior', which nothing has learned when all policies start; allowed as_is"
    for name, term in (step.energy or {}).items():
        if getattr(term, "scale", None) == "step" and "critic" in first.learn:
            yield (
                f"{where}.energy.{name}.scale",
                "found 'step', but the critic is learned meanwhile; allowed batch, none",
            )


def _together_rules(step: StepSpec, where: str) -> Problems:
    """What ends, or takes back, one step alone."""
    for key in ("until", "repeat_until"):
        if getattr(step, key) is not None:
            kind = kind_of("until", type(getattr(step, key)))
            yield (
                f"{where}.{key}",
                f"found {kind}, which ends one policy, but in concurrent mode all train at once; remove it",
            )
    terms = [(term.tau, f"{where}.proximal[{i}].tau") for i, term in enumerate(step.proximal or ())]
    for tau, place in [*terms, (step.tau, f"{where}.tau")]:
        if isinstance(tau, (Backtracking, Choice, Doubling)):
            kind = kind_of("tau", type(tau))
            yield place, f"{kind} takes one step again, but in concurrent mode all train at once; use sequential"
