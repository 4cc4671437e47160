"""Steps to a Gaussian in closed form: what they move, what they ask for, and what they leave idle."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems, policy_kind
from pogospec.checking.explicit import family_rules, moved_rules
from pogospec.policies.base import AbstractPolicy
from pogospec.registry import kind_of, load
from pogospec.spec.build import to_plain
from pogospec.spec.catalog import kinds_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.natural import GEOMETRIES

SET = "but a closed step sets the policy, with one look at Q"


def sets_policy(spec: Spec, step: StepSpec) -> bool:
    """Whether a step sets the policy without an optimiser."""
    return spec.target is not None and step.scheme is not None and step.scheme.closed


def closed_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a closed step needs: a Gaussian as its reference, its geometry, terms with a first variation."""
    scheme: Any = step.scheme
    if scheme is None or not scheme.closed:
        return
    kind = kind_of("scheme", type(scheme))
    if step.from_ is None:
        yield f"{where}.scheme", f"{kind} moves one reference; allowed with from, geometry and tau"
        return
    if spec.policy.parameter_type not in scheme.families:
        found = f"found {kind}, whose step is a Gaussian in closed form, which {policy_kind(spec.policy)}"
        kinds = [kind for kind, family in kinds_of("policy").items() if family.parameter_type in scheme.families]
        yield f"{where}.scheme", f"{found} is none of (of policies {', '.join(kinds)} are); use scheme: implicit"
        return
    yield from moved_rules(step, where, f"a {kind.replace('_', '-')} step")
    if step.from_ == "data":
        message = "found 'data', where the reference is a point without a width to move; allowed previous, behavior"
        yield f"{where}.from", message
    else:
        yield from family_rules(spec, step, where, kind)
    yield from _geometry_rules(spec, step, where)
    if scheme.warm and not _heat(step):
        found = "found no entropy of positive weight"
        yield f"{where}.energy", f"{found}, and {kind} matches the score of exp(Q/λ); allowed entropy beside it"
    if getattr(scheme, "curvature", None) == "exact" and spec.target is None:
        why = "but critics have kinks, where second derivatives are none; allowed plane"
        yield f"{where}.scheme.curvature", f"found 'exact', {why}"
    if sets_policy(spec, step):
        yield from _idle_rules(spec, step, where)


def _geometry_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """The geometry in which a closed step is one of steepest descent."""
    geometry: Any = step.geometry
    kind = kind_of("scheme", type(step.scheme))
    if kind == "natural":
        if getattr(geometry, "kind", None) not in GEOMETRIES:
            yield f"{where}.geometry", f"natural is a step in the Fisher metric; allowed {', '.join(GEOMETRIES)}"
        elif geometry is not None and geometry.weight == 0:
            yield f"{where}.geometry.weight", "found 0, which leaves a natural step no length; allowed a number > 0"
        elif geometry is not None and spec.target is None and geometry.estimated():
            yield f"{where}.geometry", "natural regresses on a Gaussian in closed form; allowed without an estimate"
    elif kind == "batch_and_match":
        if getattr(geometry, "kind", None) != "kl" or geometry.direction != "reference_to_policy":
            found = "batch_and_match is a proximal step in KL(reference ‖ policy)"
            yield f"{where}.geometry", f"{found}; allowed kl with direction: reference_to_policy"
        elif geometry.weight == 0:
            yield f"{where}.geometry.weight", "found 0, which leaves the step no length; allowed a number > 0"
    elif getattr(geometry, "retraction", None) != "transport":
        yield f"{where}.geometry", "forward_backward is a step of Wasserstein; allowed wasserstein2"
    elif geometry is not None and geometry.estimated():
        yield f"{where}.geometry.coupling", "forward_backward regresses on a Gaussian in closed form; allowed optimal"


def _heat(step: StepSpec) -> float:
    """The weight of the entropy."""
    return sum(term.weight for term in (step.energy or {}).values() if term.entropic)


def _idle_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What would do nothing where the policy is set."""
    if type(spec.policy).assigned is AbstractPolicy.assigned:
        yield "policy", f"found {policy_kind(spec.policy)}, {SET}, and this family has no `assigned`; allowed gaussian"
    if step.updates != 1:
        yield f"{where}.updates", f"found {step.updates:,}, {SET}; allowed 1, or leave it out"
    if step.gradient is not None and kind_of("gradient", type(step.gradient)) != "euclidean":
        yield f"{where}.gradient", f"found {kind_of('gradient', type(step.gradient))}, {SET}; allowed euclidean"
    if step.until is not None:
        yield f"{where}.until", f"found a rule that ends updates, {SET}; use repeat_until, or remove it"
    if step.optimizer_state == "keep":
        yield f"{where}.optimizer_state", f"found 'keep', {SET}; remove it"
    for key, word in (("mean", "linear"), ("log_std_map", "clamp")):
        found = getattr(spec.policy, key, word)
        if found != word:
            yield f"policy.{key}", f"found '{found}', {SET}, whose parameters are free numbers; allowed {word}"
    others = [one for one in spec.schedule.steps if not sets_policy(spec, one)]
    plain = to_plain(spec.optimizer.policy if others else load("optimizer", "adam")())
    if to_plain(step.optimizer.policy) != plain:
        yield f"{where}.optimizer.policy", f"found an optimiser, {SET}; remove it"
