"""YAML text -> a tree that knows where each value was written.

PyYAML's nodes carry line and column; its YAML 1.1 scalars, silent duplicate keys, tags and unbounded aliases
are replaced or refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pogospec.errors import Origin, Problem, SpecError

MAX_BYTES, MAX_DEPTH, MAX_NODES = 1 << 20, 50, 20_000
INTEGER = re.compile(r"[-+]?[0-9][0-9_]*$")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$")
SPECIAL = re.compile(r"([-+]?)\.(inf|nan)$", re.IGNORECASE)


@dataclass(frozen=True)
class Node:
    """A value with its origin; mappings and lists hold nodes."""

    value: Any
    origin: Origin
    key_origin: Origin | None = None

    def plain(self) -> Any:
        """The value without origins."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def scalar(text: str) -> Any:
    """What a plain scalar means under YAML 1.2, with underscores in numbers."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if INTEGER.match(text):
        return int(text.replace("_", ""))
    if NUMBER.match(text):
        return float(text.replace("_", ""))
    if special := SPECIAL.match(text):
        return float(special[1] + special[2].lower())
    return text


def read_tree(path: str | Path) -> Node:
    """Read a file; raises SpecError."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpecError([Problem(Origin("file", str(path)), "", f"cannot be read: {reason}")]) from None
    if len(raw) > MAX_BYTES:
        raise SpecError([Problem(Origin("file", str(path)), "", f"found {len(raw)} bytes, allowed {MAX_BYTES}")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError([Problem(Origin("file", str(path)), "", f"is not UTF-8 text (byte {error.start})")]) from None
    tree = parse(text, str(path))
    if not isinstance(tree.value, dict):
        raise SpecError([Problem(tree.origin, "", "found no mapping, required: keys such as policy, energy, schedule")])
    return tree


def parse(text: str, file: str | None, layer: str = "file") -> Node:
    """Parse YAML text; raises SpecError."""
    return _Reader(file, layer).read(text)


class _Reader:
    def __init__(self, file: str | None, layer: str):
        self.file, self.layer = file, layer
        self.count, self.problems = 0, []

    def read(self, text: str) -> Node:
        try:
            self._bound_depth(text)
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            message = error.problem or "is not YAML"
            if "\\t" in message or "'\t'" in message:
                message = "found a tab, allowed spaces; replace tabs by spaces"
            raise SpecError([Problem(self._at(mark), "", message)]) from None
        except yaml.YAMLError as error:
            raise SpecError([Problem(Origin(self.layer, self.file), "", f"is not YAML: {error}")]) from None
        if root is None:
            raise SpecError([Problem(Origin(self.layer, self.file, 1, 1), "", "is empty")])
        node = self._node(root, "")
        if self.problems:
            raise SpecError(self.problems)
        return node

    def _bound_depth(self, text: str) -> None:
        # events come from a state machine; composing recurses and would exhaust the stack
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
            if depth > MAX_DEPTH:
                message = f"found nesting deeper than {MAX_DEPTH}"
                raise SpecError([Problem(self._at(event.start_mark), "", message)])

    def _at(self, mark: Any) -> Origin:
        return Origin(self.layer, self.file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1)

    def _node(self, node: yaml.Node, path: str, key_origin: Origin | None = None) -> Node:
        origin = self._at(node.start_mark)
        self.count += 1
        if self.count > MAX_NODES:
            raise SpecError([Problem(origin, path, f"found more than {MAX_NODES} values (aliases that multiply?)")])
        if node.tag and not node.tag.startswith("tag:yaml.org,2002:") or getattr(node, "tagged", False):
            self.problems.append(Problem(origin, path, f"found the tag {node.tag}, allowed no YAML tags"))
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, path), origin, key_origin)
        if isinstance(node, yaml.SequenceNode):
            items = [self._node(child, f"{path}[{i}]") for i, child in enumerate(node.value)]
            return Node(items, origin, key_origin)
        if node.tag.startswith("tag:yaml.org,2002:python"):
            self.problems.append(Problem(origin, path, f"found the tag {node.tag}, allowed no YAML tags"))
        plain = getattr(node, "style", None) is None
        return Node(scalar(node.value) if plain else node.value, origin, key_origin)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key, value in node.value:
            where = self._at(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem(where, path, "found a key that is not a word"))
                continue
            child = f"{path}.{key.value}" if path else key.value
            if key.value in entries:
                first = entries[key.value].key_origin
                line = first.line if first else "?"
                self.problems.append(Problem(where, child, f"found the key twice (first in line {line}); keep one"))
                continue
            entries[key.value] = self._node(value, child, where)
        return entries


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with its path."""
    yield path, node
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from walk(child, f"{path}.{key}" if path else key)
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from walk(child, f"{path}[{index}]")
