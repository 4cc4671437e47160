"""What there is, read off the registered classes: slots, kinds, and the keys of each with their docs."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, Literal, NamedTuple

from pogospec import registry
from pogospec.spec.annotations import describe, fields_of, mark_of, split
from pogospec.spec.build import to_plain
from pogospec.spec.fields import Slot, Within

REQUIRED: Any = object()
TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", type(None): "null"}


class Key(NamedTuple):
    """One key of a mapping; `default` is plain data, or REQUIRED."""

    name: str
    annotation: Any
    default: Any
    doc: str

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is REQUIRED

    @property
    def allowed(self) -> str:
        """What the annotation allows, in words."""
        return describe(self.annotation)


def summary(cls: type) -> str:
    """First line of a class's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]


def doc_of(annotation: Any) -> str:
    """The one-line doc among the marks of an annotation."""
    return next((mark for mark in split(annotation)[1] if isinstance(mark, str)), "")


def keys_of(cls: type) -> list[Key]:
    """The keys of a class, in the order in which they are declared."""
    keys = []
    for name, (annotation, field) in fields_of(cls).items():
        if field.default_factory is not dataclasses.MISSING:
            default = to_plain(field.default_factory())
        else:
            default = REQUIRED if field.default is dataclasses.MISSING else to_plain(field.default)
        keys.append(Key(name, annotation, default, doc_of(annotation)))
    return keys


def kinds_of(slot: str) -> dict[str, type]:
    """Every kind of a slot with its class, built in and third-party."""
    return {kind: registry.load(slot, kind) for kind in registry.table(slot)}


def show(value: Any) -> str:
    """Plain data as a person writes it in one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {show(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(show, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def types_of(annotation: Any) -> list[str]:
    """Names of the types that an annotation allows: JSON's, `node` or `nodes` of a slot, or `mapping`."""
    options, marks, null = split(annotation)
    names = [TYPES.get(option, "") for option in options]
    for option in options:
        if typing.get_origin(option) is Literal:
            names += [TYPES[type(word)] for word in typing.get_args(option)]
        elif typing.get_origin(option) is tuple:
            names.append("array")
        elif dataclasses.is_dataclass(option) or typing.get_origin(option) is dict:
            names.append("mapping")
    if slot := mark_of(marks, Slot):
        names += {True: ["nodes"], False: ["node"], "also": ["node", "nodes"]}[slot.named]
    return list(dict.fromkeys(name for name in [*names, *(["null"] if null else [])] if name))


def plain_key(key: Key) -> dict[str, Any]:
    """A key as plain data: name, types, slot, choices, bounds, default, doc."""
    options, marks, _ = split(key.annotation)
    choices = [word for option in options if typing.get_origin(option) is Literal for word in typing.get_args(option)]
    bounds, slot = mark_of(marks, Within), mark_of(marks, Slot)
    found: dict[str, Any] = {"name": key.name, "about": key.doc, "types": types_of(key.annotation)}
    found |= {} if slot is None else {"slot": slot.name}
    found |= {"choices": choices} if choices else {}
    if bounds is not None:
        found["bounds"] = {name: limit for name, limit in dataclasses.asdict(bounds).items() if limit is not None}
    return found | {"required": key.required} | ({} if key.required else {"default": key.default})


def plain(slot: str) -> list[dict[str, Any]]:
    """The kinds of a slot as plain data, with their keys."""
    return [
        {"slot": slot, "kind": kind, "about": summary(cls), "keys": [plain_key(key) for key in keys_of(cls)]}
        for kind, cls in kinds_of(slot).items()
    ]
