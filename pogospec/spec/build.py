"""Located tree -> typed values, by the annotations of the classes; and back to plain data.

Every mistake is collected; a bad field takes its default, a required number one that is allowed, so that the rest is
still checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import typing
from collections.abc import Iterable
from typing import Any, Literal

from pogospec import registry
from pogospec.errors import Origin, Problem, printable
from pogospec.spec.annotations import PHRASES, choose, describe, did_you_mean, fields_of, fits, mark_of, phrase, split
from pogospec.spec.fields import Increasing, Length, Slot, Within
from pogospec.spec.yaml import Node, fraction, join, plain_of, scalar, show, tree_of, write

INVALID: Any = object()
MOST = {int: 2**31 - 1, float: 3.4028234e38}
TINY = 1.1754944e-38
"""A float32, which programs compute with, holds numbers from TINY to MOST in size; nothing counts further than MOST."""


class Builder:
    """Builds typed values from a tree; `problems` and `origins` fill up on the way.

    `also` names keys, by path, that are legal in a file though they are gone from the tree.
    """

    def __init__(self, also: dict[str, tuple[str, ...]] | None = None):
        self.problems: list[Problem] = []
        self.origins: dict[str, Origin] = {}
        self.also = also or {}
        self.idle: list[Problem] = []  # no mistakes
        self._told: dict[tuple[Origin, str, str], int] = {}

    def fail(self, node: Node, path: str, message: str, at_key: bool = False) -> Any:
        """Note a problem at a node, or at its key; once for all copies of what was written, at the shortest path."""
        problem = Problem((node.key_origin or node.origin) if at_key else node.origin, path, message)
        written = node.path + path[path.rfind(".") :] if message.startswith("missing") else node.path or path
        place = self._told.setdefault((problem.origin, written, message), len(self.problems))
        if place == len(self.problems):
            self.problems.append(problem)
        elif len(path) < len(self.problems[place].path):
            self.problems[place] = problem
        return INVALID

    def missing(self, parent: Node, path: str, key: str, annotation: Any) -> None:
        """Note that a required key is missing from a mapping."""
        self.fail(parent, join(path, key), f"missing, required: {describe(annotation)}")

    def unknown(self, node: Node, path: str, key: str, known: Iterable[str]) -> None:
        """Note an unknown key, at the key."""
        known = list(known)
        if key == "replace" and "replace" not in known:
            whole = "a whole spec takes from another only what it `extends`"
            why = whole if node.value is True else "it says true, or is left out"
            self.fail(node, path, f"found replace: {show(node.value)}, but {why}; remove it", True)
            return
        allowed = ", ".join(known) or "no keys"
        self.fail(node, path, f"found unknown key {show(key)}, allowed {allowed}{did_you_mean(key, known)}", True)

    def node(self, slot: str, tree: Node, path: str, default_kind: str | None = None) -> Any:
        """Build a node of a slot: a mapping with `kind`, or the bare kind."""
        self.origins[path] = tree.origin
        entries, kind_node, where, kinds = {}, tree, path, registry.table(slot)
        default = None if default_kind is None else Node(default_kind, tree.origin, None, tree.path)
        if isinstance(tree.value, dict):
            entries = {key: child for key, child in tree.value.items() if key != "kind"}
            kind_node, where = tree.value.get("kind", default), join(path, "kind")
        elif tree.value is None and default is not None:
            kind_node = default
        if kind_node is None:
            return self.fail(tree, where, f"missing, required: {', '.join(kinds)}")
        kind = kind_node.value
        if not isinstance(kind, str) or kind not in kinds:
            hint = did_you_mean(kind, kinds)
            return self.fail(kind_node, where, f"found {show(kind)}, allowed {', '.join(kinds)}{hint}")
        self.origins[join(path, "kind")] = kind_node.origin
        rest = dataclasses.replace(tree, value=entries)
        return self.record(registry.load(slot, kind), rest, path, ("kind",))

    def record(self, cls: type, tree: Node, path: str, also: tuple[str, ...] = ()) -> Any:
        """Build a class whose fields are the keys of a mapping."""
        if not isinstance(tree.value, dict):
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a mapping")
        self.origins[path] = tree.origin
        fields, values, broken = fields_of(cls), {}, False
        for key, child in tree.value.items():
            if key not in fields:
                self.unknown(child, join(path, key), key, [*fields, *self.also.get(path, also)])
        for key, (annotation, field) in fields.items():
            required = field.default is field.default_factory is dataclasses.MISSING
            place, value = join(path, key), INVALID
            if key in tree.value:
                value = self.value(annotation, tree.value[key], place)
            elif required:
                self.missing(tree, path, key, annotation)
            if value is INVALID and required:
                value = stand_in(annotation)
            if value is not INVALID:
                values[field.name] = value
            elif required:
                broken = True
            elif key not in tree.value:
                self._default(place, field)
        if broken:
            return INVALID
        try:
            return cls(**values)
        except ValueError as error:
            return self.fail(tree, path, printable(str(error), 400))

    def _default(self, path: str, field: dataclasses.Field) -> None:
        factory = field.default_factory
        value = field.default if factory is dataclasses.MISSING else factory()
        self.origins[path] = Origin("default")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for key in fields_of(type(value)):
                self.origins[join(path, key)] = Origin("default")

    def value(self, annotation: Any, tree: Node, path: str) -> Any:
        """Build a value of an annotated type, or INVALID."""
        self.origins[path] = tree.origin
        options, marks, nullable = split(annotation)
        if nullable and tree.value is None:
            return None
        slot = mark_of(marks, Slot)
        if slot is not None:
            word = isinstance(tree.value, str) and tree.value in registry.table(slot.name)
            known = word or isinstance(tree.value, dict)
            literals = [option for option in options if typing.get_origin(option) is Literal]
            if isinstance(tree.value, str) and any(fits(option, tree.value) for option in literals):
                return tree.value
            text = isinstance(tree.value, str) and not word and isinstance(scalar(tree.value), str)
            if float in options and text and fraction(str(tree.value)) is None:
                hint = did_you_mean(tree.value, registry.table(slot.name))
                return self.fail(tree, path, f"found {show(tree.value)}, allowed {describe(annotation)}{hint}")
            if float in options and not known:
                return self._scalar(float, marks, tree, path)
            return self._slot(slot, tree, path)
        option = choose(options, tree.value)
        if typing.get_origin(option) is typing.Annotated:
            return self.value(typing.Annotated[(option, *marks)] if marks else option, tree, path)
        if typing.get_origin(option) is tuple:
            return self._tuple(option, marks, tree, path)
        if typing.get_origin(option) is dict:
            return self._mapping(tree, path)
        if typing.get_origin(option) is Literal:
            words = typing.get_args(option)
            if any(tree.value == word and type(tree.value) is type(word) for word in words):
                return tree.value
            hint = did_you_mean(tree.value, [word for word in words if isinstance(word, str)])
            return self.fail(tree, path, f"found {show(tree.value)}, allowed {describe(annotation)}{hint}")
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return self.record(option, tree, path)
        return self._scalar(option, marks, tree, path)

    def _slot(self, slot: Slot, tree: Node, path: str) -> Any:
        if not slot.named or (slot.named == "also" and not is_sum(tree)):
            return self.node(slot.name, tree, path, slot.default)
        if not isinstance(tree.value, dict) or not tree.value:
            found = "an empty mapping" if tree.value == {} else show(tree.value)
            allowed = f"a mapping from names to nodes of {slot.name}"
            return self.fail(tree, path, f"found {found}, allowed {allowed}")
        built, kinds = {}, registry.table(slot.name)
        for name, child in tree.value.items():
            by_name = child.value is None or (isinstance(child.value, dict) and "kind" not in child.value)
            if not re.fullmatch(r"[\w-]+", name):
                message = f"found the name {show(name)}, allowed letters, digits, _ and -"
                built[name] = self.fail(child, join(path, name), message, True)
            elif by_name and name not in kinds:
                message = f"found unknown name {show(name)}, allowed {', '.join(kinds)}, or any name with `kind`"
                built[name] = self.fail(child, join(path, name), message + did_you_mean(name, kinds), True)
            else:
                built[name] = self.node(slot.name, child, join(path, name), name)
        return INVALID if any(value is INVALID for value in built.values()) else built

    def _tuple(self, annotation: Any, marks: list[Any], tree: Node, path: str) -> Any:
        inner = typing.get_args(annotation)
        if not isinstance(tree.value, list):
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a list")
        size = len(tree.value)
        if inner[-1] is Ellipsis:
            length = mark_of(marks, Length) or Length()
            if size < length.least or (length.most is not None and size > length.most):
                most = "or more" if length.most is None else f"to {length.most}"
                return self.fail(tree, path, f"found {size} entries, allowed {length.least} {most}")
            inner = inner[:1] * size
        elif size != len(inner):
            return self.fail(tree, path, f"found {size} entries, allowed {len(inner)}")
        bounds = [mark for mark in marks if isinstance(mark, Within)]
        elements = [typing.Annotated[(element, *bounds)] if bounds else element for element in inner]
        values = tuple(self.value(elements[i], child, f"{path}[{i}]") for i, child in enumerate(tree.value))
        if any(value is INVALID for value in values):
            return INVALID
        if mark_of(marks, Increasing) and any(a >= b for a, b in zip(values, values[1:], strict=False)):
            return self.fail(tree, path, f"found {list(values)}, allowed numbers that increase")
        return values

    def _mapping(self, tree: Node, path: str) -> Any:
        """Plain data under keys of any name, as JSON has them."""
        if not isinstance(tree.value, dict):
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a mapping")
        found = plain_of(tree)
        try:
            json.dumps(found, allow_nan=False)
        except (ValueError, TypeError):
            return self.fail(
                tree, path, "found a value that JSON has not, allowed text, finite numbers, lists, mappings"
            )
        return found

    def _scalar(self, kind: Any, marks: list[Any], tree: Node, path: str) -> Any:
        value: Any = tree.value
        bounds = [mark for mark in marks if isinstance(mark, Within)]
        allowed = phrase(kind, bounds)
        if kind is float and isinstance(value, str):
            quotient = fraction(value)
            value = value if quotient is None else quotient
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind in (float, int) and number and not math.isfinite(value):
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a finite number")
        if kind is float or kind is int:
            good = number and (kind is float or value == int(value)) and all(b.holds(value) for b in bounds)
        else:
            good = kind not in PHRASES or isinstance(value, kind)
        if good and kind in (float, int) and not holdable(value, kind):
            sizes = f"{MOST[int]:,}" if kind is int else f"{MOST[float]:.3g}, and 0 or no smaller than {TINY:.3g}"
            return self.fail(tree, path, f"found {show(tree.value)}, allowed {allowed}, no larger in size than {sizes}")
        if good:
            return kind(value) if kind in (float, int) else value
        meant = scalar(value) if isinstance(value, str) and kind is not str else None
        plain = isinstance(meant, (int, float)) and math.isfinite(meant) and len(str(value)) < 40
        hint = f", did you mean {value} without quotes?" if plain else ""
        if kind is float and isinstance(value, str) and "/" in value:
            hint = ", or a fraction of two, such as 1/2.4"
        return self.fail(tree, path, f"found {show(tree.value)}, allowed {allowed}{hint}")


def stand_in(annotation: Any) -> Any:
    """A number that an annotation allows, or INVALID where it wants something else."""
    (option, *others), marks, _ = split(annotation)
    bounds = [mark for mark in marks if isinstance(mark, Within)]
    if others or option not in (int, float):
        return INVALID
    return next((option(value) for value in (1, 0, 2, 0.5) if all(b.holds(option(value)) for b in bounds)), INVALID)


def holdable(value: float, kind: type) -> bool:
    """Whether a program can hold a finite number: it neither overflows nor becomes 0."""
    return abs(value) <= MOST[kind] and (kind is int or value == 0 or abs(value) >= TINY)


def is_sum(tree: Node) -> bool:
    """Whether a value names several nodes, where it could be one node as well."""
    children = tree.value
    if not isinstance(children, dict) or not children or "kind" in children:
        return False
    return all(child.value is None or isinstance(child.value, dict) for child in children.values())


def to_plain(value: Any) -> Any:
    """Typed values as plain data; nodes of a slot carry their kind."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = _kind(type(value))
        fields = {key: to_plain(getattr(value, f.name)) for key, (_, f) in fields_of(type(value)).items()}
        if "schedule" in fields:
            _take_away(fields)
        return fields if kind is None else {"kind": kind, **fields}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if (dtype := getattr(value, "dtype", None)) is not None:
        # the shortest decimal, so that a float32 0.1 does not become 0.10000000149
        return float(str(value)) if dtype.kind == "f" else typing.cast(Any, value).item()
    return value


def _take_away(whole: dict[str, Any]) -> None:
    """Say null in each step for the terms of the whole spec that it lacks, since steps inherit them when read."""
    for step in whole["schedule"]["steps"]:
        for key in ("energy", "geometry"):
            above, own = whole[key], step[key]
            if all(isinstance(terms, dict) and "kind" not in terms for terms in (above, own)):
                own |= dict.fromkeys(above.keys() - own.keys())


def _kind(cls: type) -> str | None:
    for slot in (*registry.slots(), *registry.BESIDE):
        try:
            return registry.kind_of(slot, cls)
        except KeyError:
            continue
    return None


def build_node(slot: str, plain: dict[str, Any]) -> Any:
    """Build a node from plain data that `to_plain` made; raises ValueError."""
    builder = Builder()
    value = builder.node(slot, tree_of(plain, Origin("data")), slot)
    if builder.problems:
        raise ValueError("; ".join(map(str, builder.problems)))
    return value


def decisive(spec: Any) -> dict[str, Any]:
    """A spec as plain data, without its trackers and where rows lie, on which no number depends."""
    plain = to_plain(spec)
    if isinstance(data := plain.get("data"), dict):
        data.pop("rows", None)
    if isinstance(train := plain.get("train"), dict):
        train.pop("track", None)
    return plain


def digest(spec: Any) -> str:
    """SHA-256 of a spec, independent of layout, comments and trackers."""
    text = json.dumps(decisive(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump(spec: Any) -> str:
    """Write a spec as YAML that reads back to the same spec."""
    return write(to_plain(spec))
