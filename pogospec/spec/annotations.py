"""Reading the annotations of classes: keys, alternatives and marks; what they allow, in words."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal

from pogospec import registry
from pogospec.spec.fields import Slot, Within
from pogospec.spec.yaml import fraction

PHRASES = {bool: "true or false", str: "text", int: "a whole number", float: "a number", dict: "a mapping"}


@functools.cache
def fields_of(cls: type) -> dict[str, tuple[Any, dataclasses.Field]]:
    """YAML key -> (annotation, dataclass field); Python's reserved words carry an underscore."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name.rstrip("_"): (hints[f.name], f) for f in dataclasses.fields(cls) if f.init}


def split(annotation: Any) -> tuple[list[Any], list[Any], bool]:
    """Split an annotation: its alternatives, its marks, and whether null is one of the alternatives."""
    marks: list[Any] = []
    while typing.get_origin(annotation) is typing.Annotated:
        annotation, *more = typing.get_args(annotation)
        marks += more
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return [annotation], marks, False
    options = typing.get_args(annotation)
    return [option for option in options if option is not type(None)], marks, type(None) in options


def mark_of(marks: list[Any], kind: type) -> Any:
    """Find the first mark of a kind, or None."""
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def choose(options: list[Any], value: Any) -> Any:
    """The alternative that a value is meant for: what it fits, else the one mapping for a mapping, else the first."""
    fitting = [option for option in options if fits(option, value)]
    mappings = [option for option in options if fits(option, {})] if isinstance(value, dict) else []
    return (fitting or (mappings if len(mappings) == 1 else options))[0]


def fits(option: Any, value: Any) -> bool:
    """Whether an alternative of a union is the one that a value is meant for."""
    (option, *_), _, _ = split(option)
    if typing.get_origin(option) is Literal:
        return value in typing.get_args(option)
    if typing.get_origin(option) is tuple:
        return isinstance(value, list)
    if typing.get_origin(option) is dict:
        return isinstance(value, dict)
    if dataclasses.is_dataclass(option) and isinstance(option, type):
        return isinstance(value, dict) and (not value or not fields_of(option).keys().isdisjoint(value))
    if option is float and isinstance(value, str):
        return fraction(value) is not None
    if option in (int, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(option, type) and isinstance(value, option)


def phrase(kind: Any, bounds: list[Any]) -> str:
    """Say what a plain type allows."""
    return PHRASES.get(kind, "a value") + "".join(f" {bound}" for bound in bounds if str(bound))


def describe(annotation: Any) -> str:
    """Say what an annotation allows."""
    options, marks, nullable = split(annotation)
    if slot := mark_of(marks, Slot):
        kinds = ", ".join(registry.table(slot.name))
        if slot.named:
            sum_of = f"a mapping from names to nodes of {slot.name} ({kinds})"
            return sum_of if slot.named is True else f"{kinds}, or a mapping from names to such nodes"
        return f"{phrase(float, [m for m in marks if isinstance(m, Within)])}, {kinds}" if float in options else kinds
    words = []
    for option in options:
        if typing.get_origin(option) is typing.Annotated:
            words.append(describe(option))
        elif typing.get_origin(option) is Literal:
            words += [str(word) for word in typing.get_args(option)]
        elif typing.get_origin(option) is tuple:
            words.append("a list")
        elif typing.get_origin(option) is dict:
            words.append("a mapping")
        elif dataclasses.is_dataclass(option) and isinstance(option, type):
            words.append(f"a mapping with {', '.join(fields_of(option))}")
        else:
            words.append(phrase(option, [mark for mark in marks if isinstance(mark, Within)]))
    return ", ".join([*words, "null"] if nullable else words)


def did_you_mean(found: Any, known: Iterable[str]) -> str:
    """Suggest a known name, or nothing."""
    close = registry.nearest(found, known) if isinstance(found, str) else None
    return f", did you mean {close}?" if close else ""
