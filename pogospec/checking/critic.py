"""The critic: that one is declared, what its next actions come from, and the penalty of its target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pogospec.checking.base import Problems, no_distance, no_shared_noise, policy_kind, with_density
from pogospec.energies.entropy import EntropyTerm
from pogospec.registry import kind_of
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
    family = spec.policy if "policy" in known or "behavior" not in known else spec.behavior
    if spec.critic.needs_density and not family.has_density:
        yield "critic", f"needs a policy with a density, found {policy_kind(family)}, allowed {with_density()}"
    yield from _ensemble_rules(spec.critic)
    if getattr(spec.critic, "backup_entropy", False):
        yield from _entropy_rules(spec, step, where)
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
        yield "critic.target_penalty.geometry", no_distance(spec, geometry, "behavior")
    elif apart := no_shared_noise(spec, geometry):
        yield "critic.target_penalty.geometry", apart
    elif geometry is not None and geometry.learns and not _shared(geometry, step):
        yield (
            "critic.target_penalty.geometry",
            f"{geometry.kind} shares what the proximal term of a step learns, but {where} has none with this geometry; "
            "give both the same keys",
        )


def _ensemble_rules(critic: Any) -> Problems:
    """What several critics are needed for."""
    if getattr(critic, "diversity", None) is not None and critic.members < 2:
        yield "critic.diversity", "compares critics, of which there is one; allowed with members: 2 or more"


def _entropy_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What the entropy in the target needs: the density of the next actions, and a weight, which is the policy's."""
    critic: Any = spec.critic
    actions, place = critic.target_actions, "critic.backup_entropy"
    if not hasattr(actions, "scored"):
        yield place, f"found true, but {_kind(actions)} has no density; use target_actions: policy_sample"
    elif actions.copies != "online":
        yield place, "found true, which is about the policy as it is now; allowed target_actions.copies: online"
    heats = [term for term in (step.energy or {}).values() if isinstance(term, EntropyTerm)]
    if "policy" not in step.learn or not heats:
        yield (
            place,
            f"takes the entropy weight of the policy's energy, but {where} has none; add policy to its `learn` and "
            "entropy to its energy",
        )


def _kind(actions: Any) -> str:
    return kind_of("target_actions", type(actions))


def _shared(geometry: Any, step: StepSpec) -> bool:
    """Whether the first proximal geometry of this kind in a step is the same, up to its weight."""
    same = [other for _, other in geometries(step) if type(other) is type(geometry)]
    return bool(same) and replace(same[0], weight=geometry.weight) == geometry
