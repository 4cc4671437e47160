"""What the learners of a stage start from, are held near and move by, in words."""

from __future__ import annotations

from typing import Any

from pogospec.explain.mathematics.known_energy import beginning
from pogospec.explain.numbers import number
from pogospec.explain.stages import Stage, kind_of
from pogospec.spec.schema import Spec, StepSpec


def start(spec: Spec, stage: Stage) -> str:
    """Where the policy's weights come from when a step begins."""
    if spec.policy.borrows:
        return "the behaviour and the critic as they are"
    if spec.target is not None and "policy" not in stage.earlier:
        return f"π₀ = {beginning(spec)[0]}"
    if stage.step.start == "behavior":
        return f"a copy of the fitted behaviour's {mean_of(stage, 'behavior')}weights"
    if stage.beside is not None:
        return f"the weights that {stage.earlier['policy']} starts from, at distance 0"
    if "policy" in stage.earlier:
        return f"the {mean_of(stage, 'policy')}weights that {stage.earlier['policy']} ended with"
    return "fresh weights, not those of the behaviour"


def reference(spec: Spec, stage: Stage, name: str) -> str:
    """What the reference of a proximal term is."""
    if stage.begins_flow(name):
        return f"the start, {beginning(spec)[0]}"
    if stage.weighs_data:
        return "the policies that logged the data, known by their actions alone; no distance is taken"
    if name == "data":
        return "the Dirac at the logged action of each state"
    if name == "previous" and stage.beside is not None:
        return f"the policy of {stage.earlier['policy']} as it is now, trained in the same updates"
    if name == "previous":
        return f"the {mean_of(stage, 'policy')}policy at the end of {stage.earlier['policy']}, frozen"
    if "behavior" in stage.step.learn:
        return "the behaviour policy, fitted in this very step"
    if stage.beside is not None and "behavior" in stage.meanwhile:
        return f"the behaviour policy, fitted in the same updates by {stage.beside.label}"
    return f"the {mean_of(stage, 'behavior')}behaviour policy as {stage.earlier['behavior']} left it, frozen"


def mean_of(stage: Stage, learner: str) -> str:
    """Said before weights that a stage finds, where they are averaged ones."""
    return "averaged " if learner in stage.averaged else ""


def targets(spec: Spec, stage: Stage) -> str | None:
    """What the slow copies do in a stage; None where there is no critic, or where the first of a chain moves them."""
    if spec.critic is None or stage.beside is not None:
        return None
    if not stage.moves_targets:
        return "not moved: no critic is learned from here on"
    step = stage.step
    rate = number(spec.critic.target_rate)
    if step.target_every is None and stage.learns_policy and not spec.policy.borrows:
        when = f"only when the policy updates ({policy_rhythm(step)})"
    else:
        when = f"at {every(step.target_every or 1)}"
    slow = _has_policy(spec) and not spec.policy.borrows
    names = "Q̄ ← Q̄ + {0} (Q − Q̄), μ̄ likewise" if slow else "Q̄ ← Q̄ + {0} (Q − Q̄)"
    before = ", μ̄ towards the policy before its update" if step.slow_policy == "before_update" else ""
    return f"{names.format(rate)}, {when}{before}"


def policy_rhythm(step: StepSpec) -> str:
    """When the policy updates."""
    first = step.actor_on == "first" and step.actor_every > 1
    return f"the first of each {step.actor_every} updates" if first else every(step.actor_every)


def every(count: int) -> str:
    """A rhythm of updates."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(count % 10 if count % 100 not in (11, 12, 13) else 0, "th")
    return "every update" if count == 1 else f"every {count}{ending} update"


def _has_policy(spec: Spec) -> bool:
    return any({"policy", "critic"} & set(step.learn) for step in spec.schedule.steps)


def optimizers(stage: Stage) -> dict[str, str]:
    """The optimiser of each learner of a stage, and whether its state is fresh."""
    found = {}
    for name in stage.step.learn:
        if name == "policy" and stage.policy.borrows:
            continue
        node: Any = getattr(stage.step.optimizer, name)
        text = f"{kind_of('optimizer', node)} {number(node.learning_rate)}"
        text = text[0].upper() + text[1:]
        if getattr(node, "decay", "none") != "none":
            text += f", {node.decay} decay"
        kept = stage.step.optimizer_state == "keep" and name in stage.earlier
        found[name] = text + (f", state kept from {stage.earlier[name]}" if kept else "")
    return found


def averages(stage: Stage) -> str:
    """Which weights are averaged, and how; empty where none are."""
    names, found = {"behavior": "behaviour"}, []
    for name in stage.step.learn:
        law = getattr(getattr(stage.step.optimizer, name), "average", None)
        if law is not None:
            window, rhythm = getattr(law, "window", 0), stage.step.actor_every if name == "policy" else 1
            of_step = f", {window * rhythm:,} of the step" if window and rhythm > 1 else ""
            found.append(f"{names.get(name, name)}: {law.words()}{of_step}")
    return "; ".join(found)
