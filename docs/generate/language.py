"""The language key by key: a page a slot, and one of the records that are no nodes; read off the classes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Literal

from generate.markdown import code, page, prose, table, target
from pogospec import registry
from pogospec.spec.annotations import describe, mark_of, phrase, split
from pogospec.spec.catalog import keys_of, kinds_of, show, summary
from pogospec.spec.fields import Increasing, Length, Slot, Within
from pogospec.spec.schema import OptimizerSpec, ProximalSpec, Spec, StepSpec
from pogospec.spec.suite import SuiteSpec

HEAD = ("key", "allowed", "default", "what it is")
SLOT_WORDS = {
    "target_actions": "Next actions in the target of a critic.",
    "target_penalty": "What the target of a critic takes off for actions away from the data.",
    "optimizer": "How weights follow gradients.",
}
"""Slots whose key says too little of them in the first class that has it."""


FILLED = {
    (Spec, "optimizer"): "`adam`",
    (Spec, "behavior"): "as `policy`",
    (Spec, "data"): "required, or `target`",
    (StepSpec, "learn"): "`[critic, behavior, policy]`",
    (StepSpec, "optimizer"): "the document's",
    (ProximalSpec, "geometry"): "the step's",
    (ProximalSpec, "tau"): "the step's",
    **{(OptimizerSpec, learner): "`adam`" for learner in ("critic", "behavior", "policy")},
}
"""Keys that the class requires and a file may leave out, and what they are then."""


def pages() -> dict[str, str]:
    """Path -> Markdown of every page of the language."""
    return {"language/spec.md": records_page()} | {f"language/{slot}.md": slot_page(slot) for slot in registry.slots()}


def slot_page(slot: str) -> str:
    """All kinds of a slot, with their keys."""
    used = list(uses(slot))
    words = SLOT_WORDS.get(slot) or f"{used[0][2][:1].upper()}{used[0][2][1:]}."
    places = ", ".join(dict.fromkeys(f"{code(name)} of {owner}" for owner, name, _ in used))
    kinds = kinds_of(slot)
    listed = table(("kind", "what it is"), [(f"[{code(k)}](#{slot}-{k})", prose(summary(c))) for k, c in kinds.items()])
    intro = f"{prose(words)} Keys that hold one: {places}.\n"
    return target(f"slot-{slot}") + page(slot, intro, listed, *(_kind(slot, kind) for kind in kinds))


def _kind(slot: str, kind: str) -> str:
    cls = kinds_of(slot)[kind]
    about = prose(cleandoc(cls.__doc__ or "")).split("\n\n")
    own = f"More: [the geometry](#about-{kind}).\n" if slot == "geometry" else ""
    keys = table(HEAD, rows(cls)) or "No keys.\n"
    return "\n".join([f"{target(f'{slot}-{kind}')}## {kind}\n", *(f"{part}\n" for part in about), own, keys])


def records_page() -> str:
    """The keys of the whole document, and of the mappings in it that are no nodes."""
    parts = []
    for cls, path in records():
        title = path or "top level"
        head = f"{target(f'record-{cls.__name__}')}## {title}\n\n{prose(summary(cls))}\n"
        parts.append(f"{head}\n{table(HEAD, rows(cls, False))}")
    intro = "Every key that is no key of a kind. Keys that hold a node link to the page of its kinds.\n"
    return page("The document", intro, *parts)


def records() -> Iterator[tuple[type, str]]:
    """The classes of mappings without kinds, each once, with the path at which it stands first."""
    seen: set[type] = {Spec, SuiteSpec}
    waiting: list[tuple[type, str]] = [(Spec, ""), (SuiteSpec, "a suite")]
    while waiting:
        cls, path = waiting.pop(0)
        yield cls, path
        for key in keys_of(cls):
            for option in inner(key.annotation):
                if option not in seen:
                    seen.add(option)
                    many = "[*]" if "list" in allowed(key.annotation) else ""
                    above = "" if cls is Spec else f"{path}: " if cls is SuiteSpec else f"{path}."
                    waiting.append((option, f"{above}{key.name}{many}"))


def rows(cls: type, nested: bool = True, above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """A row a key of a class; `nested`: with the keys of mappings in it, by their path."""
    for key in keys_of(cls):
        default = FILLED.get((cls, key.name), "required") if key.required else code(show(key.default) or "''")
        yield code(above + key.name), _cell(key.annotation), default, prose(key.doc)
        for option in inner(key.annotation) if nested else ():
            yield from rows(option, nested, f"{above}{key.name}.")


def inner(annotation: Any) -> Iterator[Any]:
    """Classes of the mappings that an annotation allows, within lists too; nodes of slots are none."""
    options, marks, _ = split(annotation)
    if mark_of(marks, Slot):
        return
    for option in options:
        if typing.get_origin(option) in (tuple, typing.Annotated):
            for part in typing.get_args(option)[: 1 if typing.get_origin(option) is typing.Annotated else None]:
                yield from inner(part) if part is not Ellipsis else ()
        elif dataclasses.is_dataclass(option):
            yield option


def uses(slot: str) -> Iterator[tuple[str, str, str]]:
    """Who has a key for nodes of a slot: the owner, the key, and what is said of it."""
    owners = [(f"[{path or 'the document'}](#record-{cls.__name__})", cls) for cls, path in records()]
    for own in registry.slots():
        owners += [(f"[{code(kind)}](#{own}-{kind})", cls) for kind, cls in kinds_of(own).items()]
    for owner, cls in owners:
        for key in keys_of(cls):
            mark = slot_of(key.annotation)
            if mark is not None and mark.name == slot:
                yield owner, key.name, key.doc


def slot_of(annotation: Any) -> Slot | None:
    """The slot whose nodes an annotation allows, alone or as the entries of a list."""
    options, marks, _ = split(annotation)
    parts = [part for option in options if typing.get_origin(option) is tuple for part in typing.get_args(option)]
    inside = (slot_of(part) for part in parts if part is not Ellipsis)
    return mark_of(marks, Slot) or next((mark for mark in inside if mark is not None), None)


def _cell(annotation: Any) -> str:
    mark = slot_of(annotation)
    text = prose(allowed(annotation).replace(">=", "≥").replace("<=", "≤"))
    if mark is not None:
        return f"{text}: [{mark.name}](#slot-{mark.name})"
    for option in inner(annotation):
        text += f" ([keys](#record-{option.__name__}))" if option.__name__.endswith("Spec") else ""
    return text


def allowed(annotation: Any) -> str:
    """What an annotation allows, in words, with what the entries of a list may be."""
    options, marks, null = split(annotation)
    if slot := mark_of(marks, Slot):
        node = {True: "a mapping of nodes by name", False: "a node", "also": "a node, or a mapping of nodes by name"}
        number = [f"{phrase(float, [m for m in marks if isinstance(m, Within)])}, or "] if float in options else []
        return "".join([*number, node[slot.named], " or null" if null else ""])
    words = [_allowed(option, marks) for option in options]
    return ", ".join([*words, "null"] if null else words)


def _allowed(option: Any, marks: list[Any]) -> str:
    if typing.get_origin(option) is typing.Annotated:
        return allowed(option)
    if typing.get_origin(option) is Literal:
        return ", ".join(map(str, typing.get_args(option)))
    if typing.get_origin(option) is tuple:
        return _list(typing.get_args(option), marks)
    if dataclasses.is_dataclass(option) and isinstance(option, type):
        names = [key.name for key in keys_of(option)]
        return f"a mapping with {', '.join(names)}" if len(names) < 4 else "a mapping"
    bounds = [mark for mark in marks if isinstance(mark, Within)]
    return describe(typing.Annotated[(option, *bounds)] if bounds else option)


def _list(parts: tuple[Any, ...], marks: list[Any]) -> str:
    bounds = [mark for mark in marks if isinstance(mark, Within)]
    inside = [_allowed(part, bounds) for part in parts if part is not Ellipsis]
    length, rising = mark_of(marks, Length), ", rising" if mark_of(marks, Increasing) else ""
    if parts[-1] is not Ellipsis:
        return f"a list of {len(inside)}: {', '.join(inside)}{rising}"
    ends = "" if length is None else f", {length.least} or more"
    ends = ends if length is None or length.most is None else f", {length.least} to {length.most}"
    return f"a list, each {' or '.join(inside)}{ends}{rising}"
