"""The critic: that one is declared, what its next actions come from, and the penalty of its target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pogospec.checking.base import Problems, no_distance
from pogospec.spec.geometries import geometries
from pogospec.spec.schema import Spec, StepSpec


def critic_rules(spec: Spec, step: StepSpec, known: set[str], where: str) -> Problems:
    """What a step that learns the critic needs; `known`: what this step or an earlier one learns."""
    if spec.critic is None:
        yield f"{where}.learn", "found critic, but the spec declares no critic; add the key `critic`"
        return
    if spec.critic.needs_policy and not known & {"policy", "behavior"}:
        yield (
            f"{where}.learn",
            "found critic, whose next actions come from a policy that nothing has learned; add policy or behavior",
        )
    penalty = spec.critic.target_penalty if hasattr(spec.critic, "target_penalty") else None
    if penalty is None:
        return
    if penalty.needs_behavior and "behavior" not in known:
        yield (
            "critic.target_penalty",
            f"uses the fitted behaviour, which nothing has learned by {where}; add behavior to its `learn`",
        )
    geometry = getattr(penalty, "geometry", None)
    families = spec.policy.parameter_type, spec.behavior.parameter_type
    if geometry is not None and not geometry.supports(*families):
        yield "critic.target_penalty.geometry", no_distance(spec, geometry, families[1])
    elif geometry is not None and geometry.learns and not _shared(geometry, step):
        yield (
            "critic.target_penalty.geometry",
            f"{geometry.kind} shares what the proximal term of a step learns, but {where} has none with this geometry; "
            "give both the same keys",
        )


def _shared(geometry: Any, step: StepSpec) -> bool:
    """Whether the first proximal geometry of this kind in a step is the same, up to its weight."""
    same = [other for _, other in geometries(step) if type(other) is type(geometry)]
    return bool(same) and replace(same[0], weight=geometry.weight) == geometry
