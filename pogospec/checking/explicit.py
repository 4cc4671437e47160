"""Explicit steps: what they move, along what, and how far."""

from __future__ import annotations

from pogospec.checking.base import Problems, policy_kind
from pogospec.energies.entropy import EntropyTerm
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.explicit import Explicit, Hermite
from pogospec.steps.schedule import Backtracking, Geometric

ROUNDING = 1e-9
"""Of a product of numbers that are written in decimals."""

SPLIT = "found a share of points whose weights must count, which has a meaning in explicit steps"


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
    if isinstance(getattr(step.scheme, "actions", None), Hermite) and "quadrature" not in spec.policy.looks:
        what = f"which {policy_kind(spec.policy)} is none of"
        yield f"{where}.scheme.actions", f"found hermite, a grid for Gaussians, {what}; allowed {{sample: n}}"
    if retraction == "reweight":
        yield from _length_rules(step, where)
    elif getattr(step.scheme, "split", None) is not None:
        yield f"{where}.scheme.split", f"{SPLIT} of fisher_rao, kl, hellinger; remove it"


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
    return step.tau.start if isinstance(step.tau, Backtracking) else None


def _logged_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What an explicit step from data needs, whose points are the logged actions, of unknown density."""
    if not spec.policy.has_density:
        what = f"a likelihood, which a {policy_kind(spec.policy)} policy has not"
        yield f"{where}.from", f"found 'data', where explicit weights {what}; use a policy with a density"
    elif getattr(step.geometry, "retraction", None) != "reweight":
        yield f"{where}.geometry", "explicit weights the logged actions from data; allowed fisher_rao, kl, hellinger"
    if getattr(step.scheme, "actions", None) is not None:
        yield (
            f"{where}.scheme.actions",
            "found points beside from: data, which has the logged actions; remove it",
        )
    if getattr(step.scheme, "split", None) is not None:
        yield f"{where}.scheme.split", f"{SPLIT} from previous, behavior; remove it"
    for name, term in (step.energy or {}).items():
        if term.needs_density and term.has_potential():
            yield (
                f"{where}.energy.{name}",
                "needs the density of the reference, but of data there are the logged actions alone; remove it, or "
                "from: behavior",
            )
