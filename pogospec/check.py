"""Rules that join several keys of a spec, checked before any tracing; and the door `load`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pogospec.errors import Origin, Problem, SpecError
from pogospec.policies.base import Point
from pogospec.spec.resolve import Document, read
from pogospec.spec.schema import Spec, StepSpec


def load(path: str | Path, overrides: Sequence[tuple[str, str]] = ()) -> Spec:
    """Read and check a spec; raises SpecError with every problem of the file at once."""
    document = read(path, overrides)
    problems = list(document.problems)
    if document.spec is not None:
        named = {problem.path for problem in problems}
        found = [Problem(_origin(document, where), where, text) for where, text in rules(document.spec)]
        # what steps inherit is written once, and said once
        once = {(problem.origin, problem.message): problem for problem in reversed(found)}
        problems += [problem for problem in reversed(once.values()) if problem.path not in named]
    if problems or document.spec is None:
        raise SpecError(problems)
    return document.spec


def _origin(document: Document, path: str) -> Origin:
    """Where a path was written, or where the nearest enclosing value was."""
    while path:
        origin = document.origins.get(path)
        if origin is not None and origin.line is not None:
            return origin
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return Origin("file", document.source, 1, 1)


def rules(spec: Spec) -> Iterator[tuple[str, str]]:
    """Every combination that makes no sense, as (path, message)."""
    known: set[str] = set()
    for index, step in enumerate(spec.schedule.steps):
        known |= set(step.learn)
        where = f"schedule.steps[{index}]"
        if "critic" in step.learn:
            yield from _critic_rules(spec, known, where)
        if "policy" in step.learn:
            yield from _policy_rules(spec, step, index, known, where)


def _critic_rules(spec: Spec, known: set[str], where: str) -> Iterator[tuple[str, str]]:
    if spec.critic is None:
        yield f"{where}.learn", "found critic, but the spec declares no critic; add the key `critic`"
    elif getattr(spec.critic, "target_penalty", None) is not None and "behavior" not in known:
        yield (
            "critic.target_penalty",
            f"uses the behaviour's mean, which nothing has learned by {where}; add behavior to its `learn`",
        )


def _policy_rules(spec: Spec, step: StepSpec, index: int, known: set[str], where: str) -> Iterator[tuple[str, str]]:
    if step.from_ == "previous" and not any("policy" in s.learn for s in spec.schedule.steps[:index]):
        yield (
            f"{where}.from",
            "found 'previous', but no earlier step learns the policy; allowed behavior, data",
        )
    if step.from_ == "behavior" and "behavior" not in known:
        yield (
            f"{where}.from",
            "found 'behavior', which nothing has learned; add behavior to `learn` of this or an earlier step",
        )
    for name, term in step.energy.items():
        place = f"{where}.energy.{name}"
        if term.needs_critic and "critic" not in known:
            yield (
                place,
                "uses a critic that nothing has learned; add critic to `learn` of this or an earlier step",
            )
        if term.needs_density and not spec.policy.has_density:
            yield place, f"needs a policy with a density, found {_kind(spec.policy)}, allowed gaussian"
    yield from _geometry_rules(spec, step, where)


def _geometry_rules(spec: Spec, step: StepSpec, where: str) -> Iterator[tuple[str, str]]:
    geometry = step.geometry
    if geometry is None:  # told already, where the document was read
        return
    if step.from_ == "data" and geometry.needs_density:
        yield (
            f"{where}.from",
            f"found 'data', where {geometry.kind} needs a reference with a density; allowed behavior, previous",
        )
        return
    policy = spec.policy.parameter_type
    reference = {"data": Point, "behavior": spec.behavior.parameter_type, "previous": policy}[step.from_]
    if not geometry.supports(policy, reference):
        yield (
            f"{where}.geometry",
            f"{geometry.kind} knows no distance from {_kind(spec.policy)} to a reference of type "
            f"{reference.__name__}; allowed here: wasserstein2, or a gaussian policy",
        )
    elif step.gradient.needs_metric and not geometry.has_metric(policy):
        yield f"{where}.gradient", f"{geometry.kind} has no metric on {_kind(spec.policy)}; use euclidean"


def _kind(policy) -> str:
    return type(policy).__name__.removesuffix("Policy").lower()
