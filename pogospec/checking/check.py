"""Rules that join several keys of a spec, checked before any tracing; and the door `load`."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pogospec.checking.rules import (
    behavior_rules,
    concurrent_rules,
    ending_rules,
    explicit_rules,
    multiplier_rules,
    shared,
    target_rules,
)
from pogospec.errors import DataError, Origin, Problem, SpecError, TaskError, UsageError
from pogospec.policies.base import Point
from pogospec.registry import kind_of
from pogospec.spec.catalog import keys_of, kinds_of
from pogospec.spec.resolve import DEFAULT, Document, Override, read
from pogospec.spec.schema import ProximalSpec, Spec, StepSpec
from pogospec.spec.shipped import spec_path
from pogospec.spec.yaml import show
from pogospec.steps.explicit import Explicit
from pogospec.steps.schedule import Backtracking, Geometric


def load(path: str | Path, overrides: Sequence[Override] = ()) -> Spec:
    """Read and check a spec: a file, or the name of a shipped one; raises SpecError with every problem at once.

    Raises UsageError for a sweep, which is several specs.
    """
    document = read(spec_path(path), overrides)
    if document.cell:
        raise UsageError(f"{path} declares a sweep over {', '.join(document.cell)}, which `pogospec run` takes")
    return checked(document)


def checked(document: Document) -> Spec:
    """The spec of a document; raises SpecError with every problem of the file at once."""
    problems = list(document.problems)
    if document.spec is not None:
        named = {problem.path for problem in problems}
        found = [Problem(_origin(document, where), where, text) for where, text in rules(document.spec, named)]
        # what steps inherit is written once, and said once
        once = {(problem.origin, problem.message): problem for problem in reversed(found)}
        problems += [problem for problem in reversed(once.values()) if problem.path not in named]
    if problems or document.spec is None:
        raise SpecError(problems)
    return document.spec


def checked_all(documents: Sequence[Document]) -> list[Spec]:
    """The specs of all documents; raises SpecError with the problems of all of them, each once."""
    loaded, problems = [], []
    for document in documents:
        try:
            loaded.append(checked(document))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    return loaded


@contextmanager
def located(document: Document) -> Iterator[None]:
    """Say of data and environments that cannot be used where the spec, or the command line, names them."""
    try:
        yield
    except DataError as error:
        path, _, message = str(error).partition(": ")
        if path not in document.origins:
            path, message = error.path, str(error)
        if path == TaskError.path and document.origins.get(path, DEFAULT) == DEFAULT:
            path = DataError.path
        raise type(error)(str(Problem(_origin(document, path), path, message))) from None


def _origin(document: Document, path: str) -> Origin:
    """Where a path was written, or where the nearest enclosing value was."""
    while path:
        origin = document.origins.get(path)
        if origin is not None and (origin.line is not None or origin.layer == "command line"):
            return origin
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return Origin("file", document.source, 1, 1)


def rules(spec: Spec, told: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Every combination that makes no sense, as (path, message); `told`: paths whose values are wrong in themselves."""
    if _any(told, "target"):
        return
    if spec.evaluate.action == "sample" and not spec.policy.has_density:
        yield "evaluate.action", f"found 'sample', allowed mean, since a {_kind(spec.policy)} policy has one action"
    if spec.data.environment is not None and ":" in spec.data.environment:
        yield "data.environment", f"found {show(spec.data.environment)}, allowed the id alone: a spec imports no module"
    if spec.target is not None and spec.target.dimensions < 1:
        yield "target", "found no dimensions, allowed 1 or more"
    elif spec.target is not None:
        yield from target_rules(spec)
    known: set[str] = {"critic", "behavior", "policy"} if spec.target is not None else set()
    yield from _name_rules(spec)
    yield from concurrent_rules(spec)
    for index, step in enumerate(spec.schedule.steps):
        earlier, known = known, known | set(step.learn)
        where = f"schedule.steps[{index}]"
        if "critic" in step.learn and spec.target is None and not _any(told, "critic"):
            yield from _critic_rules(spec, step, known, where)
        if "policy" in step.learn:
            yield from _policy_rules(spec, step, earlier, known, where)
            if not _any(told, *(f"{where}.{key}" for key in ("from", "proximal", "energy"))):
                yield from _empty_rules(step, where)
        yield from _optimizer_rules(spec, index, earlier, where)
        yield from ending_rules(spec, step, where)
        yield from explicit_rules(spec, step, where)
        yield from behavior_rules(spec, step, where)
        yield from multiplier_rules(spec, step, where)


def _any(told: Collection[str], *paths: str) -> bool:
    """Whether something was told of one of these values, or of a part of it."""
    return any(one == path or one.startswith((f"{path}.", f"{path}[")) for one in told for path in paths)


def _name_rules(spec: Spec) -> Iterator[tuple[str, str]]:
    """Names of steps are names of files, one for each repetition."""
    steps, taken = spec.schedule.steps, {"behavior", "warm-up"}
    unnamed = sum(step.repeat for step in steps if step.name is None and "policy" in step.learn)
    taken |= {f"step {number + 1}" for number in range(unnamed)}
    for index, step in enumerate(steps):
        if step.name is None:
            continue
        labels = {f"{step.name} {k + 1}" for k in range(step.repeat)} if step.repeat > 1 else {step.name}
        if not re.fullmatch(r"[^\W_](?:[ -]?[^\W_]){0,39}", step.name):
            message = f"found {show(step.name)}, allowed up to 40 letters and digits, with a space or - between them"
            yield f"schedule.steps[{index}].name", message
        elif labels & taken:
            message = f"found {show(step.name)}, which gives the label '{min(labels & taken)}' twice; choose another"
            yield f"schedule.steps[{index}].name", message
        taken |= labels


def _critic_rules(spec: Spec, step: StepSpec, known: set[str], where: str) -> Iterator[tuple[str, str]]:
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
        yield "critic.target_penalty.geometry", _no_distance(spec, geometry, families[1])
    elif geometry is not None and geometry.learns and not shared(geometry, step):
        yield (
            "critic.target_penalty.geometry",
            f"{geometry.kind} shares what the proximal term of a step learns, but {where} has none with this geometry; "
            "give both the same keys",
        )


def _policy_rules(spec: Spec, step: StepSpec, earlier: set[str], known: set[str], where: str):
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
        yield from _tau_rules(term.tau, step.repeat, f"{place}.tau")


def _empty_rules(step: StepSpec, where: str) -> Iterator[tuple[str, str]]:
    """What a step needs a proximal term for."""
    if step.from_ is not None or step.proximal:
        return
    if step.gradient is not None and step.gradient.needs_metric:
        yield f"{where}.gradient", "needs the metric of a geometry, but the step has no proximal term; use euclidean"
    if not step.energy:
        yield where, "has neither energy nor proximal term, so that nothing is minimised"


def _tau_rules(tau: Any, repeat: int, place: str) -> Iterator[tuple[str, str]]:
    """A rule of step sizes has to stay within the numbers that a program can hold."""
    if not isinstance(tau, (Geometric, Backtracking)):
        return
    taken = repeat if isinstance(tau, Geometric) else tau.tries
    decades = math.log10(tau.start) + (taken - 1) * math.log10(tau.factor)
    if abs(decades) > 37:
        yield place, f"reaches 10^{decades:.0f} in the end, allowed 1e-37 to 1e37; take fewer, or a factor nearer to 1"


def _energy_rules(spec: Spec, step: StepSpec, term: Any, known: set[str], place: str) -> Iterator[tuple[str, str]]:
    if term.needs_critic and "critic" not in known:
        yield place, "uses a critic that nothing has learned; add critic to `learn` of this or an earlier step"
    if term.needs_density and not spec.policy.has_density:
        families = [kind for kind, family in kinds_of("policy").items() if family.has_density]
        yield place, f"needs a policy with a density, found {_kind(spec.policy)}, allowed {', '.join(families)}"
    if getattr(term, "scale", None) == "step" and "critic" in step.learn:
        yield f"{place}.scale", "found 'step', but the step learns the critic, so that its scale moves; use batch"
    for key, allowed in (("actions", ("mean",)), ("baseline", ("value", "mean"))):
        if getattr(term, key, "mean") not in allowed and not spec.policy.has_density:
            one = f"since a {_kind(spec.policy)} policy has one action in each state"
            yield f"{place}.{key}", f"allowed {', '.join(allowed)}, {one}"
    if getattr(term, "baseline", None) == "value" and spec.critic is not None and not spec.critic.has_state_values():
        yield (
            f"{place}.baseline",
            f"found 'value', but {kind_of('critic', type(spec.critic))} learns no values of states; allowed mean, "
            "quadrature, {sample: n}, or critic.kind: expectile",
        )


def _proximal_rules(
    spec: Spec, step: StepSpec, term: ProximalSpec, earlier: set[str], known: set[str], at: tuple[str, str]
) -> Iterator[tuple[str, str]]:
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
    policy = spec.policy.parameter_type
    reference = {"data": Point, "behavior": spec.behavior.parameter_type, "previous": policy}[term.reference]
    measured = term.reference != "data" or not isinstance(step.scheme, Explicit)  # else no distance is taken
    for name, geometry in geometries.items():
        place = f"{where}.geometry.{name}" if name else f"{where}.geometry"
        if geometry is None:  # told already, where the document was read
            continue
        if measured and term.reference == "data" and geometry.needs_density:
            yield (
                f"{where}.{key}",
                f"found 'data', where {geometry.kind} needs a reference with a density; allowed behavior, previous",
            )
        elif measured and not geometry.supports(policy, reference):
            yield place, _no_distance(spec, geometry, reference)
        elif step.gradient.needs_metric and not geometry.has_metric(policy):
            yield (
                f"{where}.gradient" if key == "from" else place,
                f"{geometry.kind} has no metric on {_kind(spec.policy)}; use the euclidean gradient",
            )
        elif step.gradient.needs_metric and geometry.weight == 0:
            yield f"{place}.weight", "found 0, which leaves no metric for the natural gradient; allowed a number > 0"


def _no_distance(spec: Spec, geometry: Any, reference: type) -> str:
    """Say that a geometry joins no policy of this family to such a reference, and which ones do."""
    policy, geometries = spec.policy.parameter_type, kinds_of("geometry").items()
    plain = {kind: cls() for kind, cls in geometries if not any(key.required for key in keys_of(cls))}
    allowed = [kind for kind, other in plain.items() if other.supports(policy, reference)]
    return (
        f"{geometry.kind} knows no distance from {_kind(spec.policy)} to a reference of type {reference.__name__}; "
        f"allowed here: {', '.join(allowed) or 'none'}"
    )


def _optimizer_rules(spec: Spec, index: int, earlier: set[str], where: str) -> Iterator[tuple[str, str]]:
    steps = spec.schedule.steps
    step = steps[index]
    if step.optimizer_state == "reset":
        return
    if step.repeat == 1 and not earlier & set(step.learn):
        yield f"{where}.optimizer_state", "found 'keep', but no earlier step learns the same; allowed reset"
    for name in step.learn:
        before = [_shape(getattr(other.optimizer, name)) for other in steps[:index] if name in other.learn]
        if before and before[-1] != _shape(getattr(step.optimizer, name)):
            yield (
                f"{where}.optimizer_state",
                f"found 'keep', but the optimiser of the {name} is of another kind than before; allowed reset",
            )


def _shape(optimizer: Any) -> tuple:
    """What decides the structure of an optimiser's state."""
    return type(optimizer), getattr(optimizer, "decay", None)


def _kind(policy: Any) -> str:
    return kind_of("policy", type(policy))
