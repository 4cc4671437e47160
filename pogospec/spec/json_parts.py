"""Pieces of JSON Schema: numbers, words, closed mappings, null beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pogospec.spec.annotations import phrase
from pogospec.spec.catalog import TYPES, summary
from pogospec.spec.fields import Within
from pogospec.spec.yaml import FRACTION, NUMBER

Json = dict[str, Any]
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
AS_TEXT = "^(?=.*[_eE])" + NUMBER.pattern.replace(r"\Z", "$")
"""A number of this language that editors may read as text."""
AS_FRACTION = "^" + FRACTION.pattern.replace(r"\Z", "$")
"""A fraction of two, which editors read as text."""


def nullable(schema: Json) -> Json:
    """Allow null beside what a schema allows."""
    if "anyOf" in schema:
        options = schema["anyOf"]
        return schema if {"type": "null"} in options else schema | {"anyOf": [*options, {"type": "null"}]}
    if "enum" in schema:
        return schema | {"enum": list(dict.fromkeys([*schema["enum"], None]))}
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return schema | {"type": list(dict.fromkeys([*types, "null"]))}
    return {"anyOf": [schema, {"type": "null"}]} if schema else {}


def number(kind: Any, bounds: list[Within]) -> Json:
    """A bounded number; as text too where an editor may read one of this language's numbers so."""
    limits = {
        word: limit for bound in bounds for name, word in BOUNDS.items() if (limit := getattr(bound, name)) is not None
    }
    message = f"allowed {phrase(kind, bounds)}"
    pattern = f"{AS_TEXT}|{AS_FRACTION}" if kind is float else AS_TEXT
    return {"type": [TYPES[kind], "string"], **limits, "pattern": pattern, "patternErrorMessage": message}


def words(kinds: Mapping[str, type], names: Iterable[str]) -> Json:
    """The kinds of a slot as bare words, each with its doc."""
    names = list(names)
    return {"type": "string", "enum": names, "enumDescriptions": [summary(kinds[name]) for name in names]}


def closed(properties: Json, required: Iterable[str] = ()) -> Json:
    """A mapping with no other keys."""
    asked = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **asked, "additionalProperties": False}


def ranges() -> Json:
    """The range of a path in `tune`."""
    texts = {
        "log": "two ends > 0; numbers are drawn evenly in their logarithm",
        "uniform": "two ends; numbers are drawn evenly",
        "integer": "two ends; whole numbers",
        "choice": "values of any kind",
    }
    ends: Json = {"type": "array", "items": number(float, []), "minItems": 2, "maxItems": 2}
    properties: Json = {name: ends | {"description": text} for name, text in texts.items()}
    properties["choice"] = {"type": "array", "minItems": 2, "description": texts["choice"]}
    properties["points"] = number(int, [Within(ge=2, le=1000)]) | {"description": "values in a grid; default: 5"}
    properties["replace"] = {"const": True}
    return closed(properties) | {"minProperties": 1, "maxProperties": 3}
