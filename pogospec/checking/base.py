"""What rules share: the type of what they find, and messages that several of them give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pogospec.registry import kind_of
from pogospec.spec.catalog import keys_of, kinds_of
from pogospec.spec.schema import Spec

Problems = Iterator[tuple[str, str]]
"""What a rule finds: paths of values, and what is wrong with them."""
HOLD_OUT = "measures held-out states; set data.holdout, for example 0.1"


def policy_kind(policy: Any) -> str:
    """The kind of a policy family, as specs name it."""
    return kind_of("policy", type(policy))


def holds_out(spec: Spec) -> bool:
    """Whether there are states to measure on that nothing trains on; a known energy has but one."""
    return spec.target is not None or spec.data.holdout > 0


def no_distance(spec: Spec, geometry: Any, reference: type) -> str:
    """Say that a geometry joins no policy of this family to such a reference, and which ones do."""
    policy, geometries = spec.policy.parameter_type, kinds_of("geometry").items()
    plain = {kind: cls() for kind, cls in geometries if not any(key.required for key in keys_of(cls))}
    allowed = [kind for kind, other in plain.items() if other.supports(policy, reference)]
    return (
        f"{geometry.kind} knows no distance from {policy_kind(spec.policy)} to a reference of type "
        f"{reference.__name__}; allowed here: {', '.join(allowed) or 'none'}"
    )
