"""Rules of specs with a target, and of steps that end, or choose their size, by what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pogospec.energies.entropy import EntropyTerm
from pogospec.registry import kind_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.explicit import Explicit
from pogospec.steps.multiplier import Multiplier
from pogospec.steps.schedule import Backtracking

Problems = Iterator[tuple[str, str]]


def target_rules(spec: Spec) -> Problems:
    """What makes no sense where Q is known and there are no states."""
    target: Any = spec.target
    size = target.dimensions
    for name in ("mean", "std"):
        value = getattr(spec.start, name)
        if isinstance(value, tuple) and len(value) != size:
            yield f"start.{name}", f"found {len(value)} entries, allowed {size}, the dimensions of the target"
    if spec.policy.hidden:
        yield "policy.hidden", f"found {list(spec.policy.hidden)}, allowed []: a known energy has no states"
    if spec.critic is not None:
        yield "critic", "found a critic beside target, whose log density is Q; remove it"
    if spec.train.precision == "bfloat16_matmul":
        yield "train.precision", "found bfloat16_matmul, allowed float32, float64: a known energy has no layers"
    if spec.train.batch_size != 1:
        yield "train.batch_size", f"found {spec.train.batch_size}, allowed 1: a known energy has no states"
    for index, step in enumerate(spec.schedule.steps):
        where = f"schedule.steps[{index}]"
        if step.learn != ("policy",):
            yield f"{where}.learn", f"found {', '.join(step.learn)}, allowed [policy]: nothing else is learned here"
        for key, geometry in geometries(step):
            if geometry.by_samples:
                message = f"found {geometry.kind}, which is estimated by samples; allowed here: those with closed forms"
                yield f"{where}.{key}", message
        references = [term.reference for term in step.proximal or ()] + [step.from_]
        if "data" in references:
            yield f"{where}.from", "found 'data', but a known energy has none; allowed previous, behavior (the start)"
        large = None if step.scheme is None else step.scheme.too_large(size)
        if large is not None:
            yield f"{where}.scheme.actions", large
        for name, term in (step.energy or {}).items():
            kind = kind_of("energy", type(term))
            if kind in ("log_likelihood", "advantage"):
                what = "logged actions" if kind == "log_likelihood" else "a critic"
                yield f"{where}.energy.{name}", f"needs {what}, which a known energy has not; use q"


def geometries(step: StepSpec) -> Iterator[tuple[str, Any]]:
    """Every geometry of a step, with its key."""
    nodes = [(f"proximal[{i}].geometry", term.geometry) for i, term in enumerate(step.proximal or ())]
    for key, node in [("geometry", step.geometry), *nodes]:
        parts = node.items() if isinstance(node, dict) else [("", node)]
        yield from ((f"{key}.{name}" if name else key, part) for name, part in parts if part is not None)


def shared(geometry: Any, step: StepSpec) -> bool:
    """Whether the first proximal geometry of this kind in a step is the same, up to its weight."""
    same = [other for _, other in geometries(step) if type(other) is type(geometry)]
    return bool(same) and replace(same[0], weight=geometry.weight) == geometry


def metric_of_behavior(spec: Spec, step: StepSpec) -> list[Any]:
    """Geometries whose metric the gradient of the behaviour's loss takes: the step's, else the spec's; or none."""
    if step.behavior_gradient is None or not step.behavior_gradient.needs_metric:
        return []
    own = [geometry for _, geometry in geometries(step)]
    top = spec.geometry.values() if isinstance(spec.geometry, dict) else [spec.geometry]
    return own or [geometry for geometry in top if geometry is not None]


def behavior_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a natural gradient of the behaviour's loss needs: a geometry, with a metric on its family."""
    gradient: Any = step.behavior_gradient
    if gradient is None or not gradient.needs_metric or "behavior" not in step.learn:
        return
    found = metric_of_behavior(spec, step)
    family = spec.behavior.parameter_type
    without = next((geometry for geometry in found if not geometry.has_metric(family)), None)
    if not found:
        yield f"{where}.behavior_gradient", "needs the metric of a geometry, but there is none; add the key `geometry`"
    elif without is not None:
        kind = kind_of("policy", type(spec.behavior))
        yield f"{where}.behavior_gradient", f"{without.kind} has no metric on {kind}; use the euclidean gradient"
    elif any(geometry.weight == 0 for geometry in found):
        yield f"{where}.behavior_gradient", "found natural in a geometry of weight 0, which leaves no metric"


def explicit_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What an explicit step needs: one reference with points, a retraction, and terms with a first variation."""
    if not isinstance(step.scheme, Explicit):
        return
    if step.from_ is None:
        yield f"{where}.scheme", "explicit moves one reference; allowed with from, geometry and tau"
        return
    retraction = getattr(step.geometry, "retraction", None)
    if retraction is not None and step.geometry is not None and step.geometry.weight == 0:
        yield f"{where}.geometry.weight", "found 0, which leaves an explicit step no length; allowed a number > 0"
    for name, term in (step.energy or {}).items():
        if not term.has_potential():
            yield f"{where}.energy.{name}", "has no first variation for an explicit step; use scheme: implicit"
    if step.from_ == "data":
        yield from _logged_rules(spec, step, where)
        return
    if step.from_ == "behavior" and type(spec.behavior) is not type(spec.policy):
        message = "found 'behavior', where explicit needs a policy of the same family; allowed previous"
        yield f"{where}.from", message
    if retraction is None:
        yield f"{where}.geometry", "explicit knows no retraction here; allowed fisher_rao, kl, hellinger, wasserstein2"
    if retraction == "reweight" and not spec.policy.has_density:
        yield f"{where}.geometry", "explicit weights a likelihood, which this policy has not; allowed wasserstein2"
    heat = sum(term.weight for term in (step.energy or {}).values() if isinstance(term, EntropyTerm))
    if retraction == "reweight" and isinstance(step.tau, float) and step.tau * heat > 1:
        yield f"{where}.tau", f"found {step.tau:g}, allowed at most 1/lambda = {1 / heat:g} in an explicit step"


def _logged_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What an explicit step from data needs, whose points are the logged actions, of unknown density."""
    if not spec.policy.has_density:
        what = f"a likelihood, which a {kind_of('policy', type(spec.policy))} policy has not"
        yield f"{where}.from", f"found 'data', where explicit weights {what}; use a policy with a density"
    elif getattr(step.geometry, "retraction", None) != "reweight":
        yield f"{where}.geometry", "explicit weights the logged actions from data; allowed fisher_rao, kl, hellinger"
    if getattr(step.scheme, "actions", None) is not None:
        yield (
            f"{where}.scheme.actions",
            "found points beside from: data, which has the logged actions; remove it",
        )
    for name, term in (step.energy or {}).items():
        if term.needs_density and term.has_potential():
            yield (
                f"{where}.energy.{name}",
                "needs the density of the reference, but of data there are the logged actions alone; remove it, or "
                "from: behavior",
            )


def ending_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What the rules of a step need: a learner, held-out states, a policy as the reference."""
    held = spec.target is not None or spec.data.holdout > 0
    need = "measures held-out states; set data.holdout, for example 0.1"
    if step.until is not None:
        if step.until.needs not in step.learn:
            yield f"{where}.until", f"needs {step.until.needs}, which this step does not learn"
        elif not held:
            yield f"{where}.until", need
    if step.repeat_until is not None:
        if step.repeat == 1:
            yield f"{where}.repeat_until", "ends repetitions, but repeat is 1; set repeat to the most there may be"
        if "policy" not in step.learn or step.repeat_until.needs != "policy":
            yield f"{where}.repeat_until", "allowed energy_settled, in a step that learns the policy"
        elif not held:
            yield f"{where}.repeat_until", need
    yield from _backtracking_rules(spec, step, where, held, need)


def multiplier_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a learned step size needs: one proximal term, in an implicit step on data."""
    terms = [(term.tau, f"{where}.proximal[{i}].tau") for i, term in enumerate(step.proximal or ())]
    terms += [(step.tau, f"{where}.tau")]
    for tau, place in terms:
        if not isinstance(tau, Multiplier):
            continue
        if tau.start * tau.most < 1:
            most = f"1/most = {1 / tau.most:g}"
            yield f"{place}.start", f"found {tau.start:g}, allowed {most} or more, since 1/tau is at most {tau.most:g}"
        if spec.target is not None:
            yield place, "multiplier follows minibatches of data; allowed here: a number, geometric, backtracking"
        if isinstance(step.scheme, Explicit):
            yield place, "multiplier weighs a proximal term, which an explicit step has not; use scheme: implicit"
        if len(terms) > 2:
            yield place, "multiplier learns the one step size of a step; allowed one proximal term"


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


MOST_AT_ONCE = 64
"""Policies in one chain: a program holds the updates of each, and compiling it takes as long."""
LEARNED_ONCE = "but in concurrent mode critic and behaviour are learned by the first policy's step, or before it"


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
        if isinstance(tau, Backtracking):
            yield place, "backtracking takes one step again, but in concurrent mode all train at once; use sequential"


def _backtracking_rules(spec: Spec, step: StepSpec, where: str, held: bool, need: str) -> Problems:
    terms = [(term.tau, term.reference, f"{where}.proximal[{i}].tau") for i, term in enumerate(step.proximal or ())]
    terms += [(step.tau, step.from_, f"{where}.tau")]
    chosen = [term for term in terms if isinstance(term[0], Backtracking)]
    for _, reference, place in chosen:
        if not held:
            yield place, f"backtracking {need}"
        if step.learn != ("policy",):
            yield place, "backtracking needs a step that learns the policy alone, so that its energy is one function"
        if step.optimizer_state == "keep":
            yield place, "backtracking takes a step again with a fresh optimiser; allowed optimizer_state: reset"
        if reference == "data" or (reference == "behavior" and type(spec.behavior) is not type(spec.policy)):
            yield place, f"backtracking compares with the energy of the reference, which {reference} has not"
        if len(terms) > 2:
            yield place, "backtracking chooses the one step size of a step; allowed one proximal term"
