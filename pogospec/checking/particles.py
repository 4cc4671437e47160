"""Particles: a policy without networks, which an explicit step from the behaviour carries."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems, policy_kind
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.explicit import Explicit

PLAIN = {"actor_every": 1, "optimizer_state": "reset", "repeat": 1}
"""What updates of a policy's weights, or repetitions, would be about."""


def particle_rules(spec: Spec) -> Problems:
    """What particles ask of the whole spec: something to set out from, and next actions that there are."""
    behavior: Any = spec.behavior
    if behavior is not None and behavior.borrows:
        yield "behavior", "found particles, which set out from a behaviour; declare one of another family"
    if behavior is None or not spec.policy.borrows or spec.target is not None:
        return
    if not behavior.borrows and "sample" not in behavior.looks:
        kind = policy_kind(spec.behavior)
        yield "behavior", f"found {kind}, whose actions in a state are all one; particles need a family with samples"
    actions = getattr(spec.critic, "target_actions", None)
    if actions is not None and getattr(actions, "copies", "slow") == "slow":
        yield "critic.target_actions", "particles have no slow copy; use {kind: policy_sample, samples: n, over: mean}"
    if spec.schedule.mode == "concurrent":
        yield "schedule.mode", "found 'concurrent', but particles have no weights that train; allowed sequential"


def particle_step_rules(spec: Spec, step: StepSpec, known: set[str], earlier: set[str], where: str) -> Problems:
    """What a step of particles needs; `earlier`, `known`: what was learned before it, and with it."""
    if not spec.policy.borrows or spec.target is not None:
        return
    if "policy" not in step.learn:
        if "policy" in earlier:
            yield f"{where}.learn", "particles move with the critic that carries them; add policy to `learn`"
        return
    missing = [name for name in ("critic", "behavior") if name not in known]
    if missing:
        yield f"{where}.learn", f"particles need {' and '.join(missing)}, which nothing has learned by here; add it"
    scheme: Any = step.scheme
    if not isinstance(scheme, Explicit):
        yield f"{where}.scheme", "particles have no weights to minimise over; use {kind: explicit, kernel: stein}"
        return
    if step.from_ != "behavior":
        found = "several proximal terms" if step.from_ is None else f"'{step.from_}'"
        go_on = "; particles of an earlier step go no further: raise scheme.moves and tau" if step.from_ else ""
        yield f"{where}.from", f"found {found}, but particles set out from the behaviour; allowed behavior{go_on}"
    if scheme.actions is not None:
        yield f"{where}.scheme.actions", "found points beside particles, which are the points; use policy.count"
    if not isinstance(step.tau, float):
        yield f"{where}.tau", "found a rule, but particles take one length; allowed a number"
    for key, plain in PLAIN.items():
        if getattr(step, key) != plain:
            why = "particles are the same whenever they are asked"
            yield f"{where}.{key}", f"found {getattr(step, key)}, but {why}; allowed {plain}"
    for name, term in (step.energy or {}).items():
        if getattr(term, "scale", "none") != "none":
            yield (
                f"{where}.energy.{name}.scale",
                f"found '{term.scale}', but a decision is about one state, which has no minibatch; allowed none",
            )
        if getattr(term, "copies", "online") == "slow":
            yield f"{where}.energy.{name}.copies", "found 'slow', but slow copies end with training; allowed online"
