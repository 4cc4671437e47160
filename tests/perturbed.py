"""Every field of a spec, and other values that each may take."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pogospec import registry
from pogospec.checking.check import checked
from pogospec.spec.build import fields_of, mark_of, split
from pogospec.spec.fields import Slot, Within
from pogospec.spec.resolve import Document, read, read_text
from pogospec.spec.schema import Spec

TEXT = {"name", "about"}
LEARNERS = ("critic", "behavior", "policy")
GIVEN = {
    "tau.geometric": "{kind: geometric, start: 3, factor: 2}",
    "tau.backtracking": "{kind: backtracking, start: 3}",
    "tau.choice": "{kind: choice, of: [1, 3]}",
    "tau.doubling": "{kind: doubling, start: 3, time: 9, tolerance: 0.1}",
    "tau.multiplier": "{kind: multiplier, start: 3, divergence: 0.1}",
    "target_penalty.squared_distance": "{reference: next_action}",
    "target_penalty.divergence": "{kind: divergence, geometry: wasserstein2, weight: 0.3}",
    "target.quadratic": "{kind: quadratic, center: [0.3, 0.1], curvature: [2, 1]}",
    "until.critic_settled": "{kind: critic_settled, every: 1, window: 1, spread: 9, drift: 9}",
    "until.energy_settled": "{kind: energy_settled, every: 1, window: 1, tolerance: 2}",
}
"""Nodes of kinds that need keys, or whose defaults are longer than a test."""
SUMS = {"geometry": ["{wasserstein2: {}, kl: {}}"], "energy": ["{action_norm: {}}"]}


class Field(NamedTuple):
    """One field: where it stands in the spec, `Class.key`, its value and annotation, and whether the file says it."""

    path: str
    owner: str
    value: Any
    annotation: Any
    written: bool


def document(source: Path | str, overrides) -> Document:
    """A spec from a file, or from text."""
    return read(source, overrides) if isinstance(source, Path) else read_text(source, "text", overrides)


def fields(whole: Document) -> Iterator[Field]:
    """Fields that a spec can say, without free text and learners that nothing trains."""
    spec, origins = checked(whole), whole.origins
    learned = {name for step in spec.schedule.steps for name in step.learn}
    for where, owner, value, annotation in leaves(spec):
        top, _, rest = where.partition(".")
        unused = top == "behavior" and "behavior" not in learned
        unused |= top == "optimizer" and rest.partition(".")[0] not in learned
        if not unused and not inherited(where, origins):
            yield Field(where, owner, value, annotation, where in origins and origins[where].layer != "default")


def inherited(path: str, origins: dict[str, Any]) -> bool:
    """Whether a value of a step is the top level's, merged into it."""
    step, _, rest = path.partition("].")
    if not step.startswith("schedule.steps") or rest.split(".")[0] not in ("energy", "geometry", "optimizer"):
        return False
    return rest in origins and origins.get(path) == origins[rest]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str, Any, Any]]:
    """Every field below a node, as (path, owner, value, annotation); where it holds nodes of a choice, each of them."""
    for key, (annotation, field) in fields_of(type(value)).items():
        if key in TEXT:
            continue
        inner, where = getattr(value, field.name), f"{path}.{key}" if path else key
        nodes = nodes_of(inner, where)
        if not nodes or chosen(annotation):
            for place, item in (nodes or {where: inner}).items():
                yield place, f"{type(value).__name__}.{key}", item, annotation
        for place, item in nodes.items():
            yield from leaves(item, place)


def is_node(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def nodes_of(value: Any, path: str) -> dict[str, Any]:
    """The nodes that a field holds, by their paths."""
    if is_node(value):
        return {path: value}
    if isinstance(value, dict):
        return {f"{path}.{name}": item for name, item in value.items()}
    items = value if isinstance(value, tuple) and value and is_node(value[0]) else ()
    return {f"{path}[{index}]": item for index, item in enumerate(items)}


def chosen(annotation: Any) -> bool:
    """Whether the node in a field is one of several kinds."""
    options, marks, _ = split(annotation)
    slot = mark_of(marks, Slot)
    return len(options) > 1 if slot is None else len(registry.table(slot.name)) > 1


def all_fields() -> set[str]:
    """Every field of the language, as `Class.key`."""
    kinds = [registry.load(slot, kind) for slot in registry.slots() for kind in registry.table(slot)]
    found, queue = set(), [Spec, *kinds]
    while queue:
        cls = queue.pop()
        for key, (annotation, _) in fields_of(cls).items():
            inner = [option for option in alternatives(annotation) if dataclasses.is_dataclass(option)]
            queue += inner
            slot = mark_of(split(annotation)[1], Slot)
            if key not in TEXT and (chosen(annotation) if inner or slot is not None else True):
                found.add(f"{cls.__name__}.{key}")
    return found


def alternatives(annotation: Any) -> Iterator[Any]:
    """The plain types of a field, those inside unions and tuples too."""
    for option in split(annotation)[0]:
        if typing.get_origin(option) is typing.Annotated:
            yield from alternatives(option)
        elif typing.get_origin(option) is tuple:
            yield from alternatives(typing.get_args(option)[0])
        else:
            yield option


def others(value: Any, annotation: Any) -> Iterator[str]:
    """Other values that a field may take, as YAML; some are refused in their place."""
    options, marks, _ = split(annotation)
    within = [mark for mark in marks if isinstance(mark, Within)]
    slot = mark_of(marks, Slot)
    if isinstance(value, bool):
        yield str(not value).lower()
    elif isinstance(value, (int, float)):
        steps = (value + 1, value + 2) if isinstance(value, int) else (0.6 * value, 1.4 * value + 0.01, value + 0.5)
        yield from (repr(other) for other in steps if all(bound.holds(other) for bound in within))
    elif isinstance(value, tuple) and not is_node((*value, None)[0]):
        yield from (str(plain(other)) for other in tuples(value))
    elif isinstance(value, str) and options == [str]:
        yield "eight_schools" if value == "conjugate_normal" else f"{value}-too"
    elif value is None and slot is None:
        yield from ("3", "Made-up-too", "[0.02, 0.5]", "[1, 3]", "[{reference: data}]", "[goal]", "behavior")
    if slot is not None:
        yield from (text for kind, text in kinds(slot.name) if kind is not type(value))
        yield from SUMS.get(slot.name, []) if value is None else []
    for option in options:
        option = split(option)[0][0]
        if typing.get_origin(option) is Literal:
            yield from (str(word) for word in typing.get_args(option) if word != value)
        elif typing.get_origin(option) is dict:
            yield "{g: 2.5}"
        elif dataclasses.is_dataclass(option) and option is not type(value):
            yield f"{{{next(iter(fields_of(option)))}: 3}}"


def tuples(value: tuple) -> Iterator[tuple]:
    """The same tuple with another entry, at each place; or with a learner alone."""
    if set(value) <= set(LEARNERS):
        yield from ((name,) for name in value if len(value) > 1)
        return
    for index, item in enumerate(value):
        changed = tuples(item) if isinstance(item, tuple) else (item + (1 if isinstance(item, int) else 0.7),)
        yield from ((*value[:index], other, *value[index + 1 :]) for other in changed)


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def kinds(slot: str) -> Iterator[tuple[type, str]]:
    """Every kind of a slot, with a node of it."""
    for kind in registry.table(slot):
        yield registry.load(slot, kind), GIVEN.get(f"{slot}.{kind}", kind)
