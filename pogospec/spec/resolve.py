"""From a file and the command line to one typed spec: base, file, tuned, overrides; every value keeps its origin.

Precedence, low to high: `extends`, the file, `--set data.…`, `tuned` of the dataset that runs, other `--set`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.errors import Origin, Problem, SpecError
from pogospec.spec.build import INVALID, Builder, did_you_mean, fields_of
from pogospec.spec.schema import OptimizerSpec, Spec, StepSpec
from pogospec.spec.yaml import Node, parse, read_tree

PART = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d+|\*)\]")
LEARNERS = ("critic", "behavior", "policy")
DEFAULT = Origin("default")


class Document(NamedTuple):
    """A spec as read: `spec` is None where a required value is missing or broken."""

    spec: Spec | None
    problems: list[Problem]
    origins: dict[str, Origin]
    source: str


def parse_set(text: str) -> tuple[str, str]:
    """Split `path=value`; raises SpecError."""
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        message = f"found '{text}', allowed path=value, for example --set schedule.steps[0].tau=1.5"
        raise SpecError([Problem(Origin("--set"), "", message)])
    return path.strip(), value


def read(path: str | Path, overrides: Sequence[tuple[str, str]] = ()) -> Document:
    """Read a spec file with overrides from the command line; raises SpecError where it is not YAML."""
    return _resolve(_extend(Path(path), ()), str(path), overrides)


def read_text(text: str, file: str = "<text>", overrides: Sequence[tuple[str, str]] = ()) -> Document:
    """Read a spec from text."""
    return _resolve(parse(text, file), file, overrides)


def _extend(path: Path, seen: tuple[Path, ...]) -> Node:
    tree = read_tree(path)
    base = tree.value.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base.value, str):
        raise SpecError([Problem(base.origin, "extends", "found no text, allowed the path of a spec")])
    parent = path.parent / base.value
    if parent.resolve() in (*seen, path.resolve()):
        raise SpecError([Problem(base.origin, "extends", f"found '{base.value}', which extends this file again")])
    return merge(_extend(parent, (*seen, path.resolve())), tree)


def merge(low: Node, high: Node) -> Node:
    """Deep merge; lists and nodes of another kind are replaced whole."""
    if not (isinstance(low.value, dict) and isinstance(high.value, dict)):
        return high
    kinds = (low.value.get("kind"), high.value.get("kind"))
    if kinds[1] is not None and (kinds[0] is None or kinds[0].value != kinds[1].value):
        return high
    joined = dict(low.value)
    for key, child in high.value.items():
        joined[key] = merge(_open(joined[key], child), child) if key in joined else child
    return Node(joined, high.origin, high.key_origin or low.key_origin)


def _open(low: Node, high: Node) -> Node:
    """A bare kind as a mapping, where a mapping is merged on top of it."""
    if isinstance(low.value, str) and isinstance(high.value, dict):
        return Node({"kind": low}, low.origin, low.key_origin)
    if low.value is None and isinstance(high.value, dict):
        return Node({}, low.origin, low.key_origin)
    return low


def assign(tree: Node, path: str, value: Node) -> None:
    """Set the values that a path addresses; raises SpecError where it addresses nothing."""
    parts = [word or int(index) if index != "*" else "*" for word, index in PART.findall(path)]
    if not parts or "".join(m.group(0) for m in PART.finditer(path)) != path:
        raise SpecError([Problem(value.origin, path, "found no path, allowed for example schedule.steps[0].tau")])
    _assign(tree, parts, value, path)


def _assign(tree: Node, parts: list[Any], value: Node, path: str) -> None:
    head, rest = parts[0], parts[1:]
    entries = tree.value
    if isinstance(head, str) and head != "*":
        if not isinstance(entries, dict):
            raise SpecError([Problem(value.origin, path, f"addresses '{head}' inside a value that is no mapping")])
        if not rest:
            entries[head] = Node(value.value, value.origin, value.origin)
            return
        child = entries.get(head, Node({}, value.origin, value.origin))
        entries[head] = _open(child, Node({}, value.origin)) if isinstance(rest[0], str) and rest[0] != "*" else child
        _assign(entries[head], rest, value, path)
        return
    if not isinstance(entries, list):
        raise SpecError([Problem(value.origin, path, f"addresses entry [{head}] of a value that is no list")])
    if head != "*" and head >= len(entries):
        raise SpecError([Problem(value.origin, path, f"addresses entry [{head}], allowed 0 to {len(entries) - 1}")])
    for index in range(len(entries)) if head == "*" else [head]:
        if rest:
            _assign(entries[index], rest, value, path)
        else:
            entries[index] = value


def _resolve(tree: Node, source: str, overrides: Sequence[tuple[str, str]]) -> Document:
    given = [(path, parse(text or "''", f"--set {path}", "command line")) for path, text in overrides]
    given = [(path, _at_command_line(node, path)) for path, node in given]
    tuned = tree.value.pop("tuned", None)
    problems: list[Problem] = []

    def apply(pairs):
        for path, node in pairs:
            try:
                assign(tree, path, node)
            except SpecError as error:
                problems.extend(error.problems)

    apply((path, node) for path, node in given if path.startswith("data"))
    apply(_tuned(tree, tuned, problems))
    apply((path, node) for path, node in given if not path.startswith("data"))
    builder = Builder()
    builder.problems = problems
    _normalize(tree, builder)
    spec = builder.record(Spec, tree, "")
    return Document(None if spec is INVALID else spec, builder.problems, builder.origins, source)


def _at_command_line(node: Node, path: str) -> Node:
    origin = Origin(f"--set {path}")
    value = node.value
    if isinstance(value, dict):
        value = {key: _at_command_line(child, path) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_at_command_line(child, path) for child in value]
    return Node(value, origin, origin)


def _tuned(tree: Node, tuned: Node | None, problems: list[Problem]) -> list[tuple[str, Node]]:
    if tuned is None:
        return []
    if not isinstance(tuned.value, dict) or not all(isinstance(n.value, dict) for n in tuned.value.values()):
        problems.append(Problem(tuned.origin, "tuned", "allowed a mapping from datasets to {path: value}"))
        return []
    data = tree.value.get("data")
    dataset = data.value.get("dataset") if data is not None and isinstance(data.value, dict) else None
    entry = tuned.value.get(dataset.value) if dataset is not None and isinstance(dataset.value, str) else None
    return [] if entry is None else list(entry.value.items())


def _normalize(tree: Node, builder: Builder) -> None:
    """Give the tree its long form: optimisers by learner, a behaviour, steps with all they inherit."""
    top = tree.value
    if "target" in top:
        both = "data" in top
        message = (
            "found both data and target, allowed one of them; remove one"
            if both
            else "found a target, but flows on known energies are not available in this version; give `data`"
        )
        node = top.pop("target")
        builder.problems.append(Problem(node.key_origin or node.origin, "target", message))
    top["optimizer"] = _by_learner(top.get("optimizer"))
    if "behavior" not in top and "policy" in top:
        top["behavior"] = dataclasses.replace(top["policy"], key_origin=None)
    schedule = top.get("schedule")
    if schedule is None or not isinstance(schedule.value, dict):
        return
    defaults = schedule.value.pop("defaults", None)
    if defaults is not None and not isinstance(defaults.value, dict):
        builder.fail(defaults, "schedule.defaults", "allowed a mapping of step keys")
        defaults = None
    if defaults is not None:
        known = fields_of(StepSpec)
        for key in [key for key in defaults.value if key not in known]:
            node = defaults.value.pop(key)
            where = Node(None, node.key_origin or node.origin)
            builder.fail(
                where,
                f"schedule.defaults.{key}",
                f"found unknown key '{key}', allowed {', '.join(known)}{did_you_mean(key, known)}",
            )
    steps = schedule.value.get("steps")
    if steps is not None and isinstance(steps.value, list):
        whole = [_step(step, defaults, top) if isinstance(step.value, dict) else step for step in steps.value]
        schedule.value["steps"] = Node(whole, steps.origin, steps.key_origin)


def _step(step: Node, defaults: Node | None, top: dict[str, Node]) -> Node:
    whole = step if defaults is None else Node(merge(defaults, step).value, step.origin)
    entries = dict(whole.value)
    for key, bare in (("learn", list(LEARNERS)), ("gradient", "euclidean"), ("scheme", "implicit")):
        if key not in entries:
            value = [Node(name, DEFAULT) for name in bare] if isinstance(bare, list) else bare
            entries[key] = Node(value, DEFAULT)
    for key in ("energy", "geometry", "optimizer"):
        own = entries.get(key)
        if own is not None and key == "optimizer":
            own = _by_learner(own)
        base = top.get(key)
        if base is not None:
            entries[key] = base if own is None else merge(_open(base, own), own)
    return Node(entries, step.origin, step.key_origin)


def _by_learner(node: Node | None) -> Node:
    if node is None:
        node = Node("adam", DEFAULT)
    known = fields_of(OptimizerSpec)
    if isinstance(node.value, dict) and "kind" not in node.value and any(key in known for key in node.value):
        entries = {name: Node("adam", DEFAULT) for name in LEARNERS} | node.value
    else:
        entries = dict.fromkeys(LEARNERS, node)
    return Node(entries, node.origin, node.key_origin)
