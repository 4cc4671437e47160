"""The policy: where it starts, the terms of its energy, its proximal terms and its gradient."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import (
    Problems,
    no_distance,
    no_metric,
    no_shared_noise,
    policy_kind,
    reference_type,
    with_density,
)
from pogospec.checking.closed import sets_policy
from pogospec.checking.step_sizes import range_rules
from pogospec.registry import kind_of
from pogospec.spec.catalog import kinds_of
from pogospec.spec.schema import ProximalSpec, Spec, StepSpec
from pogospec.steps.explicit import Explicit
from pogospec.steps.schedule import Backtracking, Doubling


def policy_rules(spec: Spec, step: StepSpec, earlier: set[str], known: set[str], where: str) -> Problems:
    """What a step that learns the policy needs; `earlier`, `known`: what was learned before it, and with it."""
    if step.start == "behavior":
        if "behavior" not in earlier:
            yield f"{where}.start", "found 'behavior', which no earlier step has learned; add a step that learns it"
        elif spec.policy != spec.behavior:
            yield (
                f"{where}.start",
                "found 'behavior', but policy and behavior are of different families",
            )
    for name, term in (step.energy or {}).items():
        yield from _energy_rules(spec, step, term, known, f"{where}.energy.{name}")
    terms = [(term, f"{where}.proximal[{i}]", "reference") for i, term in enumerate(step.proximal or ())]
    if step.from_ is not None:
        terms = [(ProximalSpec(step.from_, step.geometry, step.tau), where, "from")]
    for term, place, key in terms:
        yield from _proximal_rules(spec, step, term, earlier, known, (place, key))
        yield from range_rules(term.tau, step.repeat, f"{place}.tau")


def empty_rules(step: StepSpec, where: str) -> Problems:
    """What a step needs a proximal term for."""
    if step.from_ is not None or step.proximal:
        return
    if step.gradient is not None and step.gradient.needs_metric:
        yield f"{where}.gradient", "needs the metric of a geometry, but the step has no proximal term; use euclidean"
    if not step.energy:
        yield where, "has neither energy nor proximal term, so that nothing is minimised"


def _energy_rules(spec: Spec, step: StepSpec, term: Any, known: set[str], place: str) -> Problems:
    """What a term of the energy needs: a critic, a density, values of states."""
    if term.needs_critic and "critic" not in known:
        yield place, "uses a critic that nothing has learned; add critic to `learn` of this or an earlier step"
    several = term.entropic and "sample" in spec.policy.looks  # points that a kernel can keep apart
    kernel = several and getattr(step.scheme, "kernel", "none") != "none"
    if term.needs_density and not spec.policy.has_density and not kernel:
        other = " (or scheme.kernel: stein of an explicit step)" if several else ""
        found = f"found {policy_kind(spec.policy)}, allowed {with_density()}"
        yield place, f"needs a policy with a density{other}, {found}"
    if getattr(term, "temperature", None) is not None and (
        spec.target is not None or (step.scheme is not None and step.scheme.at_reference)
    ):
        where = "an explicit step" if isinstance(step.scheme, Explicit) else "a forward-backward step"
        where = where if spec.target is None else "a flow on a known energy"
        yield (
            f"{place}.temperature",
            f"is learned from minibatches, which {where} has no use for; remove it, and give the weight alone",
        )
    if getattr(term, "scale", None) == "step" and "critic" in step.learn:
        yield f"{place}.scale", "found 'step', but the step learns the critic, so that its scale moves; use batch"
    looks = ["{sample: n}" if look == "sample" else look for look in spec.policy.looks]
    lacks_values = spec.critic is not None and not spec.critic.has_state_values()
    for key, more in (("actions", []), ("baseline", [] if lacks_values else ["value"])):
        choice = getattr(term, key, "mean")
        how = choice if isinstance(choice, str) else "sample"
        if how not in ("value", *spec.policy.looks):
            found = how if isinstance(choice, str) else f"{{sample: {choice.sample}}}"
            yield f"{place}.{key}", f"found {found}, allowed {', '.join([*more, *looks])}, {_others(spec.policy)}"
    if getattr(term, "baseline", None) == "value" and lacks_values:
        values = [kind for kind, critic in kinds_of("critic").items() if critic.has_state_values()]
        yield (
            f"{place}.baseline",
            f"found 'value', but {kind_of('critic', type(spec.critic))} learns no values of states; allowed "
            f"{', '.join(looks)}, or critic.kind: {', '.join(values)}",
        )


def _others(policy: Any) -> str:
    """Why there are no other ways to look at a policy."""
    if "sample" in policy.looks:
        return f"since quadrature is a rule for Gaussians, which {policy_kind(policy)} is none of"
    return f"since a {policy_kind(policy)} policy has one action in each state"


def _proximal_rules(
    spec: Spec, step: StepSpec, term: ProximalSpec, earlier: set[str], known: set[str], at: tuple[str, str]
) -> Problems:
    """What a proximal term needs: a reference that was learned, a distance to it, a metric for a natural gradient."""
    where, key = at
    if term.reference == "previous" and "policy" not in earlier:
        yield f"{where}.{key}", "found 'previous', but no earlier step learns the policy; allowed behavior, data"
    if term.reference == "behavior" and "behavior" not in known:
        yield (
            f"{where}.{key}",
            "found 'behavior', which nothing has learned; add behavior to `learn` of this or an earlier step",
        )
    geometries = term.geometry if isinstance(term.geometry, dict) else {"": term.geometry}
    if step.gradient is None:  # told already, where the document was read
        return
    policy, reference = spec.policy.parameter_type, reference_type(spec, term.reference)
    explicit = isinstance(step.scheme, Explicit)
    measured = term.reference != "data" or not explicit  # else no distance is taken
    metric = step.gradient.needs_metric and not sets_policy(spec, step)  # which takes none, and is told so
    for name, geometry in geometries.items():
        place = f"{where}.geometry.{name}" if name else f"{where}.geometry"
        if geometry is None:  # told already, where the document was read
            continue
        unknown = measured and not geometry.supports(policy, reference)
        if measured and term.reference == "data" and geometry.needs_density:
            yield (
                f"{where}.{key}",
                f"found 'data', where {geometry.kind} needs a reference with a density; allowed behavior, previous",
            )
        elif unknown and not _reweighs(spec, step, geometry, reference):
            yield place, no_distance(spec, geometry, term.reference, explicit)
        elif unknown and isinstance(term.tau, (Backtracking, Doubling)) and step.judge is None:
            rule, kind = kind_of("tau", type(term.tau)), policy_kind(spec.policy)
            yield f"{where}.tau", f"{rule} compares distances, which {geometry.kind} has not of {kind}"
        elif term.reference == "behavior" and (apart := no_shared_noise(spec, geometry)):
            yield place, apart
        elif metric and (without := no_metric(step.gradient, geometry, spec.policy)):
            yield f"{where}.gradient" if key == "from" else place, without
        elif metric and geometry.weight == 0:
            yield f"{place}.weight", "found 0, which leaves no metric for the natural gradient; allowed a number > 0"


def _reweighs(spec: Spec, step: StepSpec, geometry: Any, reference: type) -> bool:
    """Whether the step weighs points by densities, for which no distance needs to be known."""
    explicit = isinstance(step.scheme, Explicit) and geometry.retraction == "reweight"
    return explicit and spec.policy.has_density and reference is spec.policy.parameter_type
