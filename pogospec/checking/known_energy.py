"""Specs with a target: Q is known, and there are neither data nor states."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems, policy_kind, sampled, usable
from pogospec.registry import kind_of
from pogospec.spec.catalog import kinds_of
from pogospec.spec.geometries import geometries
from pogospec.spec.schema import Spec
from pogospec.steps.explicit import Explicit


def known_energy_rules(spec: Spec) -> Problems:
    """What makes no sense where Q is known and there are no states."""
    target: Any = spec.target
    if target is None:
        return
    size = target.dimensions
    if size < 1:
        yield "target", "found no dimensions, allowed 1 or more"
        return
    for name in ("mean", "std"):
        value = getattr(spec.start, name)
        if isinstance(value, tuple) and len(value) != size:
            yield f"start.{name}", f"found {len(value)} entries, allowed {size}, the dimensions of the target"
    if not spec.policy.can_be_placed():
        kinds = ", ".join(kind for kind, family in kinds_of("policy").items() if family.can_be_placed())
        message = "whose networks cannot be set to the Gaussian where a flow on a known energy starts"
        yield "policy", f"found {policy_kind(spec.policy)}, {message}; allowed {kinds}"
    if getattr(spec.policy, "hidden", ()):
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
            explicit = isinstance(step.scheme, Explicit)
            if sampled(geometry, spec.policy, explicit):
                how = ", which is" if geometry.by_samples or not geometry.estimated() else " with keys by which it is"
                closed = usable(spec, "previous", explicit)
                message = f"found {geometry.kind}{how} estimated by samples; allowed here, in closed form: {closed}"
                yield f"{where}.{key}", message
        references = [term.reference for term in step.proximal or ()] + [step.from_]
        if "data" in references:
            yield f"{where}.from", "found 'data', but a known energy has none; allowed previous, behavior (the start)"
        large = None if step.scheme is None else step.scheme.too_large(size)
        if large is not None:
            yield f"{where}.scheme.actions", large
        for name, term in (step.energy or {}).items():
            kind = kind_of("energy", type(term))
            if kind in ("log_likelihood", "squared_error", "advantage"):
                what = "a critic" if kind == "advantage" else "logged actions"
                yield f"{where}.energy.{name}", f"needs {what}, which a known energy has not; remove it, and use q"
