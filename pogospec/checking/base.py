"""What rules share: the type of what they find, and messages that several of them give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pogospec.geometries.base import has_points
from pogospec.policies.base import DiagonalNormal, Point
from pogospec.registry import kind_of
from pogospec.spec.catalog import keys_of, kinds_of
from pogospec.spec.schema import Reference, Spec
from pogospec.steps.gradient import PogoPrinted

Problems = Iterator[tuple[str, str]]
"""What a rule finds: paths of values, and what is wrong with them."""
HOLD_OUT = "measures held-out states; set data.holdout, for example 0.1"


def policy_kind(policy: Any) -> str:
    """The kind of a policy family, as specs name it."""
    return kind_of("policy", type(policy))


def with_density() -> str:
    """Kinds of policies with a density, in words."""
    return ", ".join(kind for kind, family in kinds_of("policy").items() if family.has_density)


def holds_out(spec: Spec) -> bool:
    """Whether there are states to measure on that nothing trains on; a known energy has but one."""
    return spec.target is not None or spec.data.holdout > 0


def no_metric(gradient: Any, geometry: Any, family: Any) -> str | None:
    """Why a gradient in the metric of a geometry is none on a policy family; None where it is one."""
    found = f"{geometry.kind} on {policy_kind(family)}"
    if isinstance(gradient, PogoPrinted):
        known = geometry.kind == "wasserstein2" and family.parameter_type is DiagonalNormal
        use = "natural" if geometry.has_metric(family.parameter_type) else "euclidean"
        return None if known else f"pogo_printed is for wasserstein2 on gaussian, found {found}; use {use}"
    if geometry.has_metric(family.parameter_type):
        return None
    return f"{geometry.kind} has no metric on {policy_kind(family)}; use the euclidean gradient"


def no_shared_noise(spec: Spec, geometry: Any) -> str | None:
    """Why policy and behaviour cannot be coupled by the same noise; None where they can, or are not."""
    if spec.policy.borrows:  # its noise is that of the behaviour
        return None
    sizes = [family.noise_dimensions() for family in (spec.policy, spec.behavior)]
    if not getattr(geometry, "noises", 0) or sizes[0] == sizes[1]:
        return None
    first, second = ("as many as actions" if size is None else size for size in sizes)
    return f"found noise of {first} dimensions of the policy, and {second} of the behavior; allowed the same of both"


def reference_type(spec: Spec, reference: Reference) -> type:
    """The parameter type of what a policy is kept near."""
    families = {"behavior": spec.behavior, "previous": spec.policy}
    return families[reference].parameter_type if reference in families else Point


def no_distance(spec: Spec, geometry: Any, reference: Reference, explicit: bool = False) -> str:
    """Say that a geometry joins no policy of this family to such a reference, and which do, and can be moved along."""
    families = {"behavior": spec.behavior, "previous": spec.policy}
    whom = policy_kind(families[reference]) if reference in families else "logged actions"
    found = f"{geometry.kind} knows no distance from {policy_kind(spec.policy)} to {whom}"
    return f"{found}; allowed here: {usable(spec, reference, explicit)}"


def usable(spec: Spec, reference: Reference, explicit: bool) -> str:
    """Which geometries may join the policy to a reference, or an explicit step move it along, in words."""
    named = _joining(spec, reference, explicit)
    if explicit:
        named = {
            name: geometry
            for name, geometry in named.items()
            if geometry.retraction == "transport" or (geometry.retraction == "reweight" and spec.policy.has_density)
        }
        if not named and _joining(spec, reference, False):
            return "none, use scheme: implicit"
    return ", ".join(named) or "none"


def _joining(spec: Spec, reference: Reference, explicit: bool) -> dict[str, Any]:
    """Geometries that join the policy to a reference, by their kind and what they need for it."""
    pair, classes = (spec.policy.parameter_type, reference_type(spec, reference)), kinds_of("geometry")
    plain = {kind: cls() for kind, cls in classes.items() if not any(key.required for key in keys_of(cls))}
    weighs = explicit and spec.policy.has_density and pair[0] is pair[1]  # for which no distance needs to be known
    found = {
        kind: geometry
        for kind, geometry in plain.items()
        if geometry.supports(*pair) or (weighs and geometry.retraction == "reweight")
    }
    if spec.target is not None:
        return {kind: one for kind, one in found.items() if not sampled(one, spec.policy, explicit)}
    if has_points(*pair) and "wasserstein2" not in found:
        found = {"wasserstein2 with coupling: shared_noise": plain["wasserstein2"]} | found
    return found


def sampled(geometry: Any, family: Any, explicit: bool) -> bool:
    """Whether a step of a family takes its distances by samples, which flows on known energies do not."""
    own = family.parameter_type
    return geometry.estimated() or (geometry.estimates(own, own) and not explicit)
