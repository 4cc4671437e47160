"""The language as a JSON Schema (draft 7) of a spec file as a person writes it; for editors.

All of it is read off the annotations of the classes. What the schema refuses, `pogospec check` refuses too, unless
the refused value is shadowed (by `tuned`, or by every step that inherits it) and so never read. Only `check` sees:
rules that join several keys (which geometry suits which policy, what a step may refer to, numbers that increase),
what a file inherits through `extends`, paths in `tuned`, duplicate keys, bounds of numbers that an editor reads as
text (`20_000` under YAML 1.2, `1e-3` under 1.1), and whether such a number was quoted.

Every mapping has two forms. The whole one stands alone: required keys and kinds are required. The part, under
`extends` and inside steps, is laid over a mapping written elsewhere, so that nothing is required in it, and null takes
away what is written there; `replace: true` in it takes away all that is written there.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, Literal

from pogospec.spec.annotations import mark_of, split
from pogospec.spec.catalog import TYPES, Key, keys_of, kinds_of, show, summary
from pogospec.spec.fields import Length, Slot, Within
from pogospec.spec.json_parts import Json, closed, nullable, number, ranges, words
from pogospec.spec.resolve import read_text
from pogospec.spec.schema import DataSpec, OptimizerSpec, ProximalSpec, ScheduleSpec, Spec, StepSpec

FILE = "pogospec.schema.json"
MODELINE = f"# yaml-language-server: $schema={FILE}"
SWEEP = "path -> list of values: every combination is run, numbers that change no shape in one program"
TUNE = "path -> range, among which `pogospec tune` looks for the best values"
ANEW: Json = {"replace": {"const": True, "description": "take nothing from the mapping that this one is laid over"}}
TUNED = "settings for datasets: an id or pattern -> {path: value}, applied when that dataset runs"


def spec_schema(datasets: Sequence[str] = ()) -> Json:
    """The JSON Schema of a spec file; `datasets` are ids to show as examples of `data.dataset`."""
    writer = Writer(datasets)
    whole, part = writer.spec(whole=True), writer.spec(whole=False)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"made by `pogospec schema`; first line of a spec: {MODELINE}",
        "title": "pogospec spec",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": part,
        "else": whole,
        "definitions": dict(sorted(writer.definitions.items())),
    }


def required_keys() -> tuple[list[str], list[str]]:
    """Keys that the reader misses in an empty spec, and in an empty step."""
    top = [p.path for p in read_text("name: x\n").problems if p.message.startswith("missing")]
    step = [p.path for p in read_text("schedule: {steps: [{}]}\n").problems if p.message.startswith("missing")]
    return top, [path.rpartition(".")[2] for path in step if path.startswith("schedule.steps[0].")]


def _said_once(name: str) -> Json:
    """What steps need unless `defaults` says it; of closed steps, which are set where Q is known, no updates."""
    said: Json = {"required": [name]}
    if name == "updates":
        kinds = [kind for kind, scheme in kinds_of("scheme").items() if scheme.closed]
        one: Json = {"properties": {"kind": {"enum": kinds}}, "required": ["kind"], "type": "object"}
        said = {"anyOf": [said, {"properties": {"scheme": {"anyOf": [{"enum": kinds}, one]}}, "required": ["scheme"]}]}
    return {
        "if": {"properties": {"defaults": said}, "required": ["defaults"]},
        "else": {"properties": {"steps": {"items": said}}},
    }


class Writer:
    """Writes schemas of annotations; mappings with a name of their own go to `definitions`."""

    def __init__(self, datasets: Sequence[str] = ()):
        self.definitions: dict[str, Json] = {}
        self.datasets = list(datasets)
        self.top_required, self.step_required = required_keys()

    def define(self, name: str, whole: bool, make: typing.Callable[[], Json]) -> Json:
        """A reference to a definition, which is made when it is first asked for."""
        name = name if whole else f"part.{name}"
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = make()
        return {"$ref": f"#/definitions/{name}"}

    def spec(self, whole: bool) -> Json:
        """The whole document."""

        def make() -> Json:
            keys = {key.name: key for key in keys_of(Spec)}
            base = "path of a spec that this one changes, or the name of a shipped one"
            properties: Json = {"extends": {"type": "string", "description": base}}
            for name, key in keys.items():
                # the kind of a behaviour is that of the policy unless it says otherwise
                properties[name] = self.key(key, Spec, whole and name != "behavior")
            settings: Json = {"type": "object"}
            tuned: Json = {"type": "object", "additionalProperties": settings if whole else nullable(settings)}
            properties["tuned"] = (tuned if whole else nullable(tuned)) | {"description": TUNED}
            values: Json = {"type": "array", "minItems": 1}
            sweep: Json = {"type": "object", "additionalProperties": values if whole else nullable(values)}
            properties["sweep"] = (sweep if whole else nullable(sweep)) | {"description": SWEEP}
            tune: Json = {"type": "object", "additionalProperties": ranges() if whole else nullable(ranges())}
            properties["tune"] = (tune if whole else nullable(tune)) | {"description": TUNE}
            if not whole:
                return closed(properties)
            schema = closed(properties, [name for name in self.top_required if name != "data"])
            return schema | {"anyOf": [{"required": ["data"]}, {"required": ["target"]}]}

        return self.define("spec", whole, make)

    def key(self, key: Key, cls: type, whole: bool) -> Json:
        """A key with its doc for people and its default."""
        schema = self.value(key.annotation, whole)
        schema = {"allOf": [schema]} if "$ref" in schema else schema
        schema = schema if whole else nullable(schema)
        text, extra = key.doc, {}
        if not key.required and key.default is not None and not isinstance(key.default, dict):
            extra["default"] = key.default
            text += f"; default: {show(key.default)}" if key.default != "" else ""
        if cls is DataSpec and key.name == "dataset" and self.datasets:
            extra["examples"] = self.datasets
        return {"description": text, **schema, **extra}

    def record(self, cls: type, whole: bool) -> Json:
        """A mapping whose keys are the fields of a class."""
        if cls is OptimizerSpec:
            return self.optimizer()
        if cls is ScheduleSpec:
            return self.define(cls.__name__, whole, lambda: self.schedule(whole))

        def make() -> Json:
            keys = keys_of(cls)
            properties = {key.name: self.key(key, cls, whole) for key in keys}
            required = [key.name for key in keys if key.required] if whole else []
            if cls is ProximalSpec:
                inherited = [key.name for key in keys_of(StepSpec) if key.name in properties]
                properties |= {name: nullable(properties[name]) for name in inherited}
                required = [name for name in required if name not in inherited]
            return closed(properties if whole else ANEW | properties, required)

        ours = cls.__module__.startswith("pogospec.")
        return self.define(cls.__qualname__ if ours else f"{cls.__module__}.{cls.__qualname__}", whole, make)

    def schedule(self, whole: bool) -> Json:
        """The schedule: what a step lacks, `defaults` may say."""
        properties = {key.name: self.key(key, ScheduleSpec, whole) for key in keys_of(ScheduleSpec)}
        schema = closed(properties if whole else ANEW | properties)
        text = "what every step inherits, unless it says otherwise"
        schema["properties"]["defaults"] = {"description": text, "allOf": [self.step()]}
        if not whole:
            return schema
        schema["required"] = [key.name for key in keys_of(ScheduleSpec) if key.required]
        schema["allOf"] = [_said_once(name) for name in self.step_required]
        return schema

    def step(self) -> Json:
        """A step, or the defaults of steps; both are laid over what they inherit."""

        def make() -> Json:
            # nothing is laid under the terms of `proximal`, a list
            properties = {key.name: self.key(key, StepSpec, key.name == "proximal") for key in keys_of(StepSpec)}
            return closed(ANEW | {name: nullable(schema) for name, schema in properties.items()})

        return self.define(StepSpec.__name__, True, make)

    def value(self, annotation: Any, whole: bool) -> Json:
        """What an annotated type allows."""
        options, marks, null = split(annotation)
        slot = mark_of(marks, Slot)
        if slot is not None:
            schemas = self.slot(slot, whole)
            if float in options:
                schemas = [number(float, [mark for mark in marks if isinstance(mark, Within)]), *schemas]
        else:
            schemas = [self.option(option, marks, whole) for option in options]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        return nullable(schema) if null else schema

    def option(self, option: Any, marks: list[Any], whole: bool) -> Json:
        """What one alternative of a type allows."""
        bounds = [mark for mark in marks if isinstance(mark, Within)]
        if typing.get_origin(option) is typing.Annotated:
            return self.value(typing.Annotated[(option, *marks)] if marks else option, whole)
        if typing.get_origin(option) is Literal:
            return {"enum": list(typing.get_args(option))}
        if typing.get_origin(option) is tuple:
            return self.list_(option, bounds, mark_of(marks, Length) or Length(), whole)
        if typing.get_origin(option) is dict:
            return {"type": "object"}
        if option is StepSpec:
            return self.step()
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return self.record(option, whole)
        if option in (int, float):
            return number(option, bounds)
        return {"type": TYPES[option]} if option in TYPES else {}

    def list_(self, option: Any, bounds: list[Within], length: Length, whole: bool) -> Json:
        """A list; the bounds hold for each of its numbers."""
        inner = typing.get_args(option)
        most = {} if length.most is None else {"maxItems": length.most}
        least = {"minItems": length.least} if length.least else {}
        if inner[-1] is not Ellipsis:
            least, most = {"minItems": len(inner)}, {"maxItems": len(inner)}
        inner = [element for element in inner if element is not Ellipsis]
        schemas = [self.value(typing.Annotated[(e, *bounds)] if bounds else e, whole) for e in inner]
        same = all(schema == schemas[0] for schema in schemas)
        return {"type": "array", "items": schemas[0] if same else schemas, **least, **most}

    def slot(self, slot: Slot, whole: bool) -> list[Json]:
        """The alternatives of a field that holds a node, or a mapping from names to nodes."""
        if slot.named is True:
            return [self.named(slot.name, whole, bare=True)]
        if not slot.named:
            return self.node(slot.name, whole, slot.default if whole else None, absent=slot.default is not None)
        word, mapping = self.node(slot.name, whole)[:2]
        total = self.named(slot.name, whole, bare=False)
        otherwise = total if whole else {"anyOf": [total, self.any_kind(slot.name)]}
        kind = {"properties": {"kind": self.kind_key(slot.name)}}
        joined = {"type": "object", **kind, "if": {"required": ["kind"]}, "then": mapping, "else": otherwise}
        return [word, joined]

    def node(self, slot: str, whole: bool, default: str | None = None, absent: bool = False) -> list[Json]:
        """A bare kind, a mapping, and null where it is `absent` and means a mapping of defaults."""
        kinds = kinds_of(slot)
        serves = [kind for kind, cls in kinds.items() if not (whole and any(key.required for key in keys_of(cls)))]
        null = [{"type": "null"}] if absent and (not whole or default in serves) else []
        word = [words(kinds, serves)] if serves else []
        return [*word, self.mapping(slot, whole, default), *null]

    def kind_key(self, slot: str) -> Json:
        """The key `kind`."""
        kinds = kinds_of(slot)
        return {"description": f"kind of {slot}", **words(kinds, kinds)}

    def mapping(self, slot: str, whole: bool, default: str | None = None) -> Json:
        """A mapping with `kind`, which decides on its other keys; without `kind` it is of the default kind."""

        def make() -> Json:
            rules = [
                {
                    "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                    "then": self.body(slot, kind, whole),
                }
                for kind in kinds_of(slot)
            ]
            schema: Json = {"type": "object", "properties": {"kind": self.kind_key(slot)}, "allOf": rules}
            if default is None and whole:
                return schema | {"required": ["kind"]}
            other = self.any_kind(slot) if default is None else self.body(slot, default, whole)
            rules.append({"if": {"not": {"required": ["kind"]}}, "then": other})
            return schema

        return self.define(slot if default is None else f"{slot}:{default}", whole, make)

    def body(self, slot: str, kind: str, whole: bool) -> Json:
        """The keys of one kind."""

        def make() -> Json:
            cls = kinds_of(slot)[kind]
            keys = keys_of(cls)
            properties = {"kind": {"const": kind, "description": summary(cls)}}
            properties |= {key.name: self.key(key, cls, whole) for key in keys}
            properties = properties if whole else ANEW | properties
            required = [key.name for key in keys if key.required] if whole else []
            return {"title": kind, "description": summary(cls), **closed(properties, required)}

        return self.define(f"{slot}.{kind}", whole, make)

    def any_kind(self, slot: str) -> Json:
        """A part whose kind is said elsewhere: any key of any kind."""

        def make() -> Json:
            found: dict[str, list[Json]] = {}
            for cls in kinds_of(slot).values():
                for key in keys_of(cls):
                    options, schema = found.setdefault(key.name, []), self.key(key, cls, whole=False)
                    options += [] if schema in options else [schema]
            return closed(ANEW | {name: many[0] if len(many) == 1 else {"anyOf": many} for name, many in found.items()})

        return self.define(f"{slot}.*", False, make)

    def named(self, slot: str, whole: bool, bare: bool) -> Json:
        """A mapping from names to nodes; a name that is a kind need not say `kind`."""

        def alternatives(name: str | None) -> Json:
            options = self.node(slot, whole, name, absent=name is not None or not whole)
            return {"anyOf": [option for option in options if bare or "enum" not in option]}

        def make() -> Json:
            kinds = kinds_of(slot)
            return {
                "type": "object",
                "propertyNames": {"pattern": r"^[^\s.\[\]]+$"},
                "properties": ({} if whole else ANEW)
                | {kind: {"description": summary(cls), **alternatives(kind)} for kind, cls in kinds.items()},
                "additionalProperties": alternatives(None),
                **({"minProperties": 1} if whole else {}),
            }

        return self.define(f"{slot}.terms" if bare else f"{slot}.sum", whole, make)

    def optimizer(self) -> Json:
        """One node for all learners, a node for each, or one with what some learners change."""
        learners = {key.name: key for key in keys_of(OptimizerSpec)}
        slot = mark_of(split(next(iter(learners.values())).annotation)[1], Slot).name

        def make() -> Json:
            own = {name: self.key(key, OptimizerSpec, whole=False) for name, key in learners.items()}
            rules: list[Json] = []
            for kind in kinds_of(slot):
                self.body(slot, kind, whole=False)
                body = self.definitions[f"part.{slot}.{kind}"]
                joined = body | {"properties": body["properties"] | own}
                rules.append({"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": joined})
            some = {"anyOf": [{"required": [name]} for name in own]}
            each = {"if": some, "then": closed(ANEW | own), "else": self.any_kind(slot)}
            rules.append({"if": {"not": {"required": ["kind"]}}, "then": each})
            return {"type": "object", "properties": {"kind": self.kind_key(slot), **own}, "allOf": rules}

        word = self.node(slot, whole=False)[0]
        return {"anyOf": [word, self.define(OptimizerSpec.__name__, True, make), {"type": "null"}]}
