"""What rules share: the type of what they find, and messages that several of them give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pogospec.geometries.base import has_points
from pogospec.policies.base import DiagonalNormal
from pogospec.registry import kind_of
from pogospec.spec.catalog import keys_of, kinds_of
from pogospec.spec.schema import Spec
from pogospec.steps.gradient import PogoPrinted

Problems = Iterator[tuple[str, str]]
"""What a rule finds: paths of values, and what is wrong with them."""
HOLD_OUT = "measures held-out states; set data.holdout, for example 0.1"


def policy_kind(policy: Any) -> str:
    """The kind of a policy family, as specs name it."""
    return kind_of("policy", type(policy))


def holds_out(spec: Spec) -> bool:
    """Whether there are states to measure on that nothing trains on; a known energy has but one."""
    return spec.target is not None or spec.data.holdout > 0


def no_metric(gradient: Any, geometry: Any, family: Any) -> str | None:
    """Why a gradient in the metric of a geometry is none on a policy family; None where it is one."""
    found = f"{geometry.kind} on {policy_kind(family)}"
    if isinstance(gradient, PogoPrinted):
        known = geometry.kind == "wasserstein2" and family.parameter_type is DiagonalNormal
        return None if known else f"pogo_printed is for wasserstein2 on gaussian, found {found}; use natural"
    if geometry.has_metric(family.parameter_type):
        return None
    return f"{geometry.kind} has no metric on {policy_kind(family)}; use the euclidean gradient"


def no_shared_noise(spec: Spec, geometry: Any) -> str | None:
    """Why policy and behaviour cannot be coupled by the same noise; None where they can, or are not."""
    sizes = [getattr(family, "noise", None) for family in (spec.policy, spec.behavior)]
    if not getattr(geometry, "noises", 0) or sizes[0] == sizes[1]:
        return None
    first, second = ("as many as actions" if size is None else size for size in sizes)
    return f"found noise of {first} dimensions of the policy, and {second} of the behavior; allowed the same of both"


def no_distance(spec: Spec, geometry: Any, reference: type) -> str:
    """Say that a geometry joins no policy of this family to such a reference, and which ones do."""
    policy, geometries = spec.policy.parameter_type, kinds_of("geometry").items()
    plain = {kind: cls() for kind, cls in geometries if not any(key.required for key in keys_of(cls))}
    allowed = [kind for kind, other in plain.items() if other.supports(policy, reference)]
    if has_points(policy, reference) and "wasserstein2" not in allowed:
        allowed.insert(0, "wasserstein2 with coupling: shared_noise")
    return (
        f"{geometry.kind} knows no distance from {policy_kind(spec.policy)} to a reference of type "
        f"{reference.__name__}; allowed here: {', '.join(allowed) or 'none'}"
    )
