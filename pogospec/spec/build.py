"""Located tree -> typed values, by the annotations of the classes; and back to plain data.

Every mistake is collected; a bad field takes its default so that the rest is still checked.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from typing import Any, Literal

import yaml

from pogospec import registry
from pogospec.errors import Origin, Problem
from pogospec.spec.fields import Increasing, Length, Slot, Within
from pogospec.spec.yaml import Node, scalar

INVALID = object()


def key_of(field: str) -> str:
    """The YAML key of a field: Python's reserved words carry an underscore."""
    return field.rstrip("_")


@functools.cache
def fields_of(cls: type) -> dict[str, tuple[Any, dataclasses.Field]]:
    """YAML key -> (annotation, dataclass field)."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {key_of(f.name): (hints[f.name], f) for f in dataclasses.fields(cls) if f.init}


class Builder:
    """Builds typed values from a tree; `problems` and `origins` fill up on the way."""

    def __init__(self):
        self.problems: list[Problem] = []
        self.origins: dict[str, Origin] = {}

    def fail(self, node: Node, path: str, message: str) -> Any:
        """Note a problem at a node."""
        self.problems.append(Problem(node.origin, path, message))
        return INVALID

    def node(self, slot: str, tree: Node, path: str, default_kind: str | None = None) -> Any:
        """A node of a slot: a mapping with `kind`, or the bare kind."""
        self.origins[path] = tree.origin
        entries, kind_node = {}, tree
        if isinstance(tree.value, dict):
            entries = {key: child for key, child in tree.value.items() if key != "kind"}
            kind_node = tree.value.get("kind", Node(default_kind, tree.origin))
        elif tree.value is None and default_kind is not None:
            kind_node = Node(default_kind, tree.origin)
        kinds, kind = registry.table(slot), kind_node.value
        where = f"{path}.kind" if isinstance(tree.value, dict) and "kind" in tree.value else path
        if not isinstance(kind, str):
            return self.fail(
                kind_node,
                where,
                f"found {show(kind)}, required: the kind of {slot}, one of {', '.join(kinds)}",
            )
        if kind not in kinds:
            return self.fail(kind_node, where, f"found '{kind}', allowed {', '.join(kinds)}{did_you_mean(kind, kinds)}")
        return self.record(registry.load(slot, kind), Node(entries, tree.origin), path)

    def record(self, cls: type, tree: Node, path: str) -> Any:
        """A class whose fields are the keys of a mapping."""
        if not isinstance(tree.value, dict):
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a mapping")
        self.origins.setdefault(path, tree.origin)
        fields, values, broken = fields_of(cls), {}, False
        for key, child in tree.value.items():
            if key not in fields:
                where = Node(None, child.key_origin or child.origin)
                self.fail(
                    where,
                    join(path, key),
                    f"found unknown key '{key}', allowed {', '.join(fields)}{did_you_mean(key, fields)}",
                )
        for key, (annotation, field) in fields.items():
            child, place = tree.value.get(key), join(path, key)
            if child is None:
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                    self.fail(tree, place, "missing, required")
                    broken = True
                else:
                    self.origins[place] = Origin("default")
                continue
            value = self.value(annotation, child, place)
            if value is INVALID:
                broken = broken or field.default is dataclasses.MISSING
            else:
                values[field.name] = value
        return INVALID if broken else cls(**values)

    def value(self, annotation: Any, tree: Node, path: str) -> Any:
        """A value of an annotated type."""
        self.origins.setdefault(path, tree.origin)
        marks: list[Any] = []
        while typing.get_origin(annotation) is typing.Annotated:
            annotation, *more = typing.get_args(annotation)
            marks += more
        options = typing.get_args(annotation)
        if typing.get_origin(annotation) in (types.UnionType, typing.Union):
            if type(None) in options and tree.value is None:
                return None
            rest = [option for option in options if option is not type(None)]
            if not any(isinstance(mark, Slot) for mark in marks):
                annotation = typing.Annotated[(rest[0], *marks)] if marks else rest[0]
                return self.value(annotation, tree, path)
        slot = next((mark for mark in marks if isinstance(mark, Slot)), None)
        if slot is not None:
            return self._slot(slot, tree, path)
        if typing.get_origin(annotation) is tuple:
            return self._tuple(annotation, marks, tree, path)
        if typing.get_origin(annotation) is Literal:
            if isinstance(tree.value, str) and tree.value in options:
                return tree.value
            return self.fail(
                tree,
                path,
                f"found {show(tree.value)}, allowed {', '.join(options)}{did_you_mean(tree.value, options)}",
            )
        if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
            return self.record(annotation, tree, path)
        return self._scalar(annotation, marks, tree, path)

    def _slot(self, slot: Slot, tree: Node, path: str) -> Any:
        if not slot.named:
            return self.node(slot.name, tree, path)
        if not isinstance(tree.value, dict) or not tree.value:
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a mapping from names to {slot.name} terms")
        built = {}
        for name, child in tree.value.items():
            located = (
                Node(child.value, child.key_origin or child.origin) if not isinstance(child.value, dict) else child
            )
            if located.value is None or isinstance(located.value, dict):
                kind_known = isinstance(child.value, dict) and "kind" in child.value
                if not kind_known and name not in registry.table(slot.name):
                    kinds = registry.table(slot.name)
                    where = Node(None, child.key_origin or child.origin)
                    self.fail(
                        where,
                        join(path, name),
                        f"found unknown term '{name}', allowed {', '.join(kinds)}, "
                        f"or any name with a `kind`{did_you_mean(name, kinds)}",
                    )
                    continue
            built[name] = self.node(slot.name, located, join(path, name), name)
        return INVALID if INVALID in built.values() else built

    def _tuple(self, annotation: Any, marks: list[Any], tree: Node, path: str) -> Any:
        inner = typing.get_args(annotation)
        if not isinstance(tree.value, list):
            return self.fail(tree, path, f"found {show(tree.value)}, allowed a list")
        if inner[-1] is not Ellipsis and len(tree.value) != len(inner):
            return self.fail(tree, path, f"found {len(tree.value)} entries, allowed {len(inner)}")
        length = next((mark for mark in marks if isinstance(mark, Length)), Length())
        if len(tree.value) < length.least:
            return self.fail(tree, path, f"found {len(tree.value)} entries, allowed {length.least} or more")
        passed = tuple(mark for mark in marks if isinstance(mark, Within))
        element = typing.Annotated[(inner[0], *passed)] if passed else inner[0]
        values = tuple(self.value(element, child, f"{path}[{i}]") for i, child in enumerate(tree.value))
        if any(value is INVALID for value in values):
            return INVALID
        if any(isinstance(mark, Increasing) for mark in marks) and any(
            a >= b for a, b in zip(values, values[1:], strict=False)
        ):
            return self.fail(tree, path, f"found {list(values)}, allowed rising numbers")
        return values

    def _scalar(self, kind: Any, marks: list[Any], tree: Node, path: str) -> Any:
        value = tree.value
        names = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
        bounds = [mark for mark in marks if isinstance(mark, Within)]
        allowed = names[kind] + "".join(f" {bound}" for bound in bounds)
        if kind in (bool, str):
            return (
                value if isinstance(value, kind) else self.fail(tree, path, f"found {show(value)}, allowed {allowed}")
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return self.fail(tree, path, f"found {show(value)}, allowed {allowed}")
        if not math.isfinite(value):
            return self.fail(tree, path, f"found {value}, allowed a finite number")
        if kind is int and value != int(value):
            return self.fail(tree, path, f"found {value:g}, allowed {allowed}")
        if not all(bound.holds(value) for bound in bounds):
            return self.fail(tree, path, f"found {value:g}, allowed {allowed}")
        return kind(value)


def join(path: str, key: str) -> str:
    """The path of a key inside a path."""
    return f"{path}.{key}" if path else key


def show(value: Any) -> str:
    """A found value as a person wrote it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return repr(value)


def did_you_mean(found: Any, known: Any) -> str:
    """A suggestion, or nothing."""
    close = registry.nearest(found, known) if isinstance(found, str) else None
    return f", did you mean {close}?" if close else ""


def to_plain(value: Any) -> Any:
    """Typed values as plain data; nodes of a slot carry their kind."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {} if (kind := _kind(type(value))) is None else {"kind": kind}
        for key, (_, field) in fields_of(type(value)).items():
            plain[key] = to_plain(getattr(value, field.name))
        return plain
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


@functools.cache
def _kind(cls: type) -> str | None:
    for slot in registry.slots():
        try:
            return registry.kind_of(slot, cls)
        except KeyError:
            continue
    return None


def build_node(slot: str, plain: dict[str, Any]) -> Any:
    """A node from plain data that `to_plain` made."""
    builder = Builder()
    value = builder.node(slot, _tree(plain), slot)
    if builder.problems:
        raise ValueError("; ".join(map(str, builder.problems)))
    return value


def _tree(plain: Any) -> Node:
    if isinstance(plain, dict):
        plain = {key: _tree(item) for key, item in plain.items()}
    elif isinstance(plain, list):
        plain = [_tree(item) for item in plain]
    return Node(plain, Origin("data"))


def digest(spec: Any) -> str:
    """SHA-256 of a spec, independent of layout and comments."""
    return hashlib.sha256(json.dumps(to_plain(spec), sort_keys=True).encode()).hexdigest()


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML's own rules leave `1e-3` plain, which is a number in this language
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if scalar(text) == text else "'")


_Dumper.add_representer(str, _text)


def dump(spec: Any) -> str:
    """A spec as YAML that reads back to the same spec."""
    return yaml.dump(to_plain(spec), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


__all__ = ["INVALID", "Builder", "build_node", "digest", "dump", "fields_of", "to_plain"]
