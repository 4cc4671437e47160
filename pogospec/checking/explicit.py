"""Explicit steps: what they move, along what, and how far."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems, policy_kind, reference_type, usable, with_density
from pogospec.energies.entropy import EntropyTerm
from pogospec.geometries.base import AbstractGeometry
from pogospec.spec.annotations import fields_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.explicit import Explicit, Hermite
from pogospec.steps.schedule import Backtracking, Doubling, Geometric

ROUNDING = 1e-9
"""Of a product of numbers that are written in decimals."""

TRANSPORT = ("kernel", "moves", "mover", "bound")
"""Keys of points that move, beside `actions`."""
SPLIT = "found a share of points whose weights must count, which has a meaning in explicit steps"


def explicit_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What an explicit step needs: one reference with points, a retraction, and terms with a first variation."""
    if not isinstance(step.scheme, Explicit):
        return
    if step.from_ is None:
        yield f"{where}.scheme", "explicit moves one reference; allowed with from, geometry and tau"
        return
    retraction = getattr(step.geometry, "retraction", None)
    yield from moved_rules(step, where, "an explicit step")
    if step.from_ == "data":
        yield from _logged_rules(spec, step, where)
        return
    maps = retraction == "transport" and not (spec.policy.has_density or spec.behavior.has_density)
    maps |= spec.policy.borrows  # which are points of the behaviour, whatever that is
    if step.from_ == "behavior" and type(spec.behavior) is not type(spec.policy) and not maps:
        message = "found 'behavior', where explicit needs a policy of the same family; allowed previous"
        yield f"{where}.from", message
    joined = not isinstance(step.geometry, AbstractGeometry) or step.geometry.supports(
        spec.policy.parameter_type, reference_type(spec, step.from_)
    )  # else it is told already that there is no distance
    if retraction is None and joined:
        yield f"{where}.geometry", f"explicit knows no retraction here; allowed {usable(spec, step.from_, True)}"
    if retraction == "reweight" and not spec.policy.has_density and joined:
        what = f"a likelihood, which a {policy_kind(spec.policy)} policy has not"
        yield f"{where}.geometry", f"explicit weights {what}; allowed {usable(spec, step.from_, True)}"
    if isinstance(getattr(step.scheme, "actions", None), Hermite) and "quadrature" not in spec.policy.looks:
        what = f"which {policy_kind(spec.policy)} is none of"
        yield f"{where}.scheme.actions", f"found hermite, a grid for Gaussians, {what}; allowed {{sample: n}}"
    if retraction == "reweight":
        yield from _length_rules(step, where)
        yield from _unmoved_rules(step, where, "weighs points and moves none")
    if retraction == "transport":
        yield from _moving_rules(spec, step, where)
    if retraction != "reweight" and getattr(step.scheme, "split", None) is not None:
        yield f"{where}.scheme.split", f"{SPLIT} of fisher_rao, kl, hellinger; remove it"


def _moving_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What points that move need: a density where the entropy asks for one, and a law that they are drawn from."""
    scheme: Any = step.scheme
    dense = [name for name, term in (step.energy or {}).items() if term.needs_density and term.has_potential()]
    if scheme.kernel == "none" and scheme.moves > 1 and dense:
        yield (
            f"{where}.scheme.moves",
            f"found {scheme.moves}, but after the first the density of the points, which {dense[0]} asks for, is not "
            "known; allowed 1, or kernel: stein",
        )
    if scheme.kernel != "none" and isinstance(scheme.actions, Hermite):
        yield (
            f"{where}.scheme.actions",
            "found hermite, but the points of a kernel are samples of one law; allowed {sample: n}",
        )
    if scheme.bound == "clip" and spec.target is not None:
        yield f"{where}.scheme.bound", "found 'clip', but actions of a known energy have no bounds; allowed none"


def _unmoved_rules(step: StepSpec, where: str, why: str) -> Problems:
    """What says how points move, in a step in which none does."""
    plain = {key: field.default for key, (_, field) in fields_of(Explicit).items()}
    for key in TRANSPORT:
        found = getattr(step.scheme, key, plain[key])
        if found != plain[key]:
            yield f"{where}.scheme.{key}", f"found {key}, but this step {why}; allowed in wasserstein2, or remove it"


def moved_rules(step: StepSpec, where: str, a_step: str) -> Problems:
    """What moves a reference along the energy needs: a length, and terms with a first variation."""
    retraction = getattr(step.geometry, "retraction", None)
    if retraction is not None and step.geometry is not None and step.geometry.weight == 0:
        yield f"{where}.geometry.weight", f"found 0, which leaves {a_step} no length; allowed a number > 0"
    for name, term in (step.energy or {}).items():
        if not term.has_potential():
            yield f"{where}.energy.{name}", f"has no first variation for {a_step}; use scheme: implicit"


def family_rules(spec: Spec, step: StepSpec, where: str, scheme: str) -> Problems:
    """The reference is of the family of the policy."""
    if step.from_ == "behavior" and type(spec.behavior) is not type(spec.policy):
        yield f"{where}.from", f"found 'behavior', where {scheme} needs a policy of the same family; allowed previous"


def _length_rules(step: StepSpec, where: str) -> Problems:
    """A reweighting step is at most 1/lambda long, where its target forgets the reference.

    The step is pi_ref^(1 - tau lambda / w), w the weight of the divergence; beyond, the power would be negative.
    """
    heat = sum(term.weight for term in (step.energy or {}).values() if isinstance(term, EntropyTerm))
    weight = getattr(step.geometry, "weight", 1.0)
    longest = _longest(step)
    if longest is None or weight <= 0 or longest * heat <= weight * (1 + ROUNDING):
        return
    most = "1/lambda" if weight == 1 else "weight/lambda, weight of the geometry,"
    found = f"found {longest:g}" if isinstance(step.tau, float) else f"reaches {longest:g}"
    yield f"{where}.tau", f"{found}, allowed at most {most} = {weight / heat:g} in an explicit step"


def _longest(step: StepSpec) -> float | None:
    """The largest step size that a step may take; None where it is not known before."""
    if isinstance(step.tau, float):
        return step.tau
    if isinstance(step.tau, Geometric):
        return max(step.tau.at(0), step.tau.at(step.repeat - 1))
    if isinstance(step.tau, Doubling):
        return 2 * step.tau.bound
    return step.tau.start if isinstance(step.tau, Backtracking) else None


def _logged_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What an explicit step from data needs, whose points are the logged actions, of unknown density."""
    if not spec.policy.has_density:
        what = f"a likelihood, which a {policy_kind(spec.policy)} policy has not"
        yield f"{where}.from", f"found 'data', where explicit weights {what}; allowed policies: {with_density()}"
    elif getattr(step.geometry, "retraction", None) != "reweight":
        yield f"{where}.geometry", "explicit weights the logged actions from data; allowed fisher_rao, kl, hellinger"
    if getattr(step.scheme, "actions", None) is not None:
        yield (
            f"{where}.scheme.actions",
            "found points beside from: data, which has the logged actions; remove it",
        )
    if getattr(step.scheme, "split", None) is not None:
        yield f"{where}.scheme.split", f"{SPLIT} from previous, behavior; remove it"
    yield from _unmoved_rules(step, where, "weighs the logged actions and moves none")
    for name, term in (step.energy or {}).items():
        if term.needs_density and term.has_potential():
            yield (
                f"{where}.energy.{name}",
                "needs the density of the reference, but of data there are the logged actions alone; remove it, or "
                "from: behavior",
            )
