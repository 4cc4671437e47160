"""YAML text -> a tree that knows where each value was written.

PyYAML's nodes carry line and column; its YAML 1.1 scalars, silent duplicate keys, tags and unbounded aliases
are replaced or refused here.
"""

from __future__ import annotations

import functools
import math
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.composer import Composer
from yaml.resolver import BaseResolver

from pogospec import regular
from pogospec.errors import Origin, Problem, SpecError, printable
from pogospec.spec import syntax

KEYS = "policy, energy, schedule"
MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_SHOWN = 1 << 20, 50, 20_000, 60
MAX_KEPT = 1 << 13
"""Characters of a text whose events are kept for when it is read again."""
UNWRITABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that YAML's escapes can make, but that neither UTF-8 nor the name of a file can hold."""
DIGITS = r"[0-9]+(?:_[0-9]+)*"
INTEGER = re.compile(rf"[-+]?{DIGITS}\Z")
NUMBER = re.compile(rf"[-+]?(?:\.{DIGITS}|{DIGITS}(?:\.(?:{DIGITS})?)?)(?:[eE][-+]?[0-9]+)?\Z")
FRACTION = re.compile(r"({0})\s*/\s*({0})\Z".format(NUMBER.pattern.removesuffix(r"\Z")))
SPECIAL = re.compile(r"(?:([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z")
WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True)
class Node:
    """A value with its origin and its path as written; mappings and lists hold nodes; `blank`: nothing was written.

    `whole`: a mapping that says `replace: true`, and so takes nothing from what it is laid over.
    """

    value: Any
    origin: Origin
    key_origin: Origin | None = None
    path: str = ""
    blank: bool = False
    whole: bool = False

    @property
    def removes(self) -> bool:
        """Whether the value is the word null, which takes away what would be inherited."""
        return self.value is None and not self.blank

    def copy(self) -> Node:
        """Copy the mappings and lists, so that they may be changed without changing the original."""
        value = self.value
        if isinstance(value, dict):
            value = {key: child.copy() for key, child in value.items()}
        elif isinstance(value, list):
            value = [child.copy() for child in value]
        return replace(self, value=value)

    def in_layer(self, layer: str) -> Node:
        """Say that every value comes from another layer."""
        value, key_origin = self.value, self.key_origin
        if isinstance(value, dict):
            value = {key: child.in_layer(layer) for key, child in value.items()}
        elif isinstance(value, list):
            value = [child.in_layer(layer) for child in value]
        key_origin = None if key_origin is None else key_origin._replace(layer=layer)
        return replace(self, value=value, origin=self.origin._replace(layer=layer), key_origin=key_origin)


def tree_of(plain: Any, origin: Origin, path: str = "") -> Node:
    """Make a tree of plain data that all comes from one place."""
    if isinstance(plain, dict):
        plain = {key: tree_of(item, origin, join(path, key)) for key, item in plain.items()}
    elif isinstance(plain, (list, tuple)):
        plain = [tree_of(item, origin, f"{path}[{i}]") for i, item in enumerate(plain)]
    return Node(plain, origin, None, path)


def plain_of(node: Node) -> Any:
    """Strip a tree of its origins."""
    if isinstance(node.value, dict):
        return {key: plain_of(child) for key, child in node.value.items()}
    return [plain_of(child) for child in node.value] if isinstance(node.value, list) else node.value


def scalar(text: str) -> Any:
    """Read a plain scalar under YAML 1.2, with underscores in numbers."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.match(text) and len(text) < 100:
        return int(text)
    if NUMBER.match(text):
        return float(text)
    if special := SPECIAL.match(text):
        return float((special[1] or "") + (special[2] or special[3]))
    return text


def fraction(text: str) -> float | None:
    """The quotient of two numbers, rounded once: 1/2.4; not finite where it has no value; None where it is none."""
    found = FRACTION.match(text) if len(text) < 100 else None
    if found is None:
        return None
    above, below = (part.replace("_", "") for part in found.groups())
    sizes = abs(float(above)), abs(float(below))
    if max(sizes) == math.inf or sizes[1] == 0:
        return math.nan
    if sizes[0] == 0:
        return 0.0
    try:
        return float(Fraction(Decimal(above)) / Fraction(Decimal(below)))
    except OverflowError:
        return math.inf


def show(value: Any) -> str:
    """Write a found value as a person wrote it."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    return f"'{printable(value, MAX_SHOWN)}'" if isinstance(value, str) else printable(repr(value), MAX_SHOWN)


def join(path: str, key: str) -> str:
    """Append a key to a path."""
    return f"{path}.{key}" if path else key


def read_tree(path: str | Path, layer: str = "file") -> Node:
    """Read a file whose top level is a mapping; raises SpecError."""
    return parse_mapping(read_file(path, layer), str(path), layer)


def read_file(path: str | Path, layer: str = "file") -> str:
    """Read the text of a file of bounded size; raises SpecError."""
    file = str(path)
    try:
        raw = regular.read(path, MAX_BYTES + 1, pipes=layer == "file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError([Problem(Origin(layer, file), "", f"cannot be read: {reason}")]) from None
    if len(raw) > MAX_BYTES:
        raise SpecError([Problem(Origin(layer, file), "", "found more than 1 MiB, allowed 1 MiB")])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8")) + 1
        message = f"found the byte 0x{raw[error.start]:02x}, allowed UTF-8 text"
        raise SpecError([Problem(Origin(layer, file, line, column), "", message)]) from None


def parse_mapping(text: str, file: str | None, layer: str = "file", keys: str = KEYS) -> Node:
    """Parse YAML text whose top level is a mapping with such keys; raises SpecError."""
    tree = parse(text, file, layer, keys)
    if not isinstance(tree.value, dict):
        message = f"found no mapping at the top level, required: keys such as {keys}"
        raise SpecError([Problem(tree.origin, "", message)])
    return tree


def parse(text: str, file: str | None, layer: str = "file", keys: str = KEYS) -> Node:
    """Parse YAML text; raises SpecError."""
    return _Reader(text, file, layer, keys).read()


class _Composer(Composer, BaseResolver):
    """Makes nodes of events; their tags mean nothing here."""

    def __init__(self, events: list[Any]):
        super().__init__()
        BaseResolver.__init__(self)
        self.events = deque(events)

    def check_event(self, *choices: type) -> bool:
        """Whether the next event is one of these."""
        return bool(self.events) and isinstance(self.events[0], choices)

    def peek_event(self) -> Any:
        """The next event."""
        return self.events[0]

    def get_event(self) -> Any:
        """Take the next event."""
        return self.events.popleft()


@functools.lru_cache(maxsize=64)
def _scan(text: str) -> tuple[list[Any], dict[int, tuple[Any, str]], tuple[Any, str] | None]:
    """The events of a text and its tags, and where it must be refused and why; one spec is read many times."""
    # events come from a state machine; composing recurses and would exhaust the stack
    tags: dict[int, tuple[Any, str]] = {}
    depth, documents, events = 0, 0, []
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        events.append(event)
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            return events, tags, (event.start_mark, f"found nesting deeper than {MAX_DEPTH} levels")
        if documents > 1:
            return events, tags, (event.start_mark, "found a second document, allowed one; remove `---`")
        if count > 3 * MAX_NODES:
            return events, tags, (event.start_mark, f"found more than {MAX_NODES} values")
        if (tag := getattr(event, "tag", None)) is not None:
            tags[event.start_mark.index] = (event.start_mark, tag)
    return events, tags, None


class _Reader:
    def __init__(self, text: str, file: str | None, layer: str, keys: str):
        self.text, self.file, self.layer, self.keys = text, file, layer, keys
        self.count = 0
        self.problems: list[Problem] = []
        self.tags: dict[int, tuple[Any, str]] = {}

    def read(self) -> Node:
        try:
            root = _Composer(self._events()).get_single_node()
        except yaml.MarkedYAMLError as error:
            raise SpecError([self._syntax(error)]) from None
        except yaml.YAMLError as error:
            before = self.text[: getattr(error, "position", 0)]
            line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
            message = f"found the character {syntax.forbidden(error)}, which YAML does not allow; remove it"
            raise SpecError([Problem(Origin(self.layer, self.file, line, column), "", message)]) from None
        if root is None:
            self._stop(None, f"is empty, required: keys such as {self.keys}")
        tree = self._node(root, "", None, 0)
        self._refuse_tags(list(self.tags), "")
        if self.problems:
            raise SpecError(self.problems)
        return tree

    def _events(self) -> list[Any]:
        events, tags, stop = (_scan if len(self.text) <= MAX_KEPT else _scan.__wrapped__)(self.text)
        self.tags = dict(tags)
        if stop is not None:
            self._stop(*stop)
        return events

    def _refuse_tags(self, places: list[int], path: str) -> None:
        for place in places:
            if place in self.tags:
                mark, tag = self.tags.pop(place)
                self.problems.append(Problem(self._at(mark), path, f"found the tag {show(tag)}, allowed no YAML tags"))

    def _stop(self, mark: Any, message: str) -> NoReturn:
        raise SpecError([Problem(self._at(mark), "", message)])

    def _syntax(self, error: yaml.MarkedYAMLError) -> Problem:
        mark: Any = error.problem_mark or error.context_mark
        lines = self.text.splitlines()
        line = lines[mark.line] if mark and mark.line < len(lines) else ""
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent or "'\\t'" in (error.problem or ""):
            column = indent.index("\t") + 1 if "\t" in indent else mark.column + 1
            origin = Origin(self.layer, self.file, mark.line + 1, column)
            return Problem(origin, "", "found a tab, allowed spaces; indent with spaces")
        return Problem(self._at(mark), "", f"found a YAML syntax error: {syntax.reason(error)}")

    def _at(self, mark: Any) -> Origin:
        return Origin(self.layer, self.file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1)

    def _node(self, node: Any, path: str, key_origin: Origin | None, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            found = f"more than {MAX_NODES} values" if depth <= MAX_DEPTH else f"nesting deeper than {MAX_DEPTH} levels"
            self._stop(node.start_mark, f"found {found}, with aliases written out")
        self._refuse_tags([node.start_mark.index], path)
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node, path, depth)
        elif isinstance(node, yaml.SequenceNode):
            value = [self._node(child, f"{path}[{i}]", None, depth + 1) for i, child in enumerate(node.value)]
        else:
            value = self._text(scalar(node.value) if node.style is None else node.value, node, path)
        blank = isinstance(node, yaml.ScalarNode) and node.style is None and not node.value
        return Node(value, self._at(node.start_mark), key_origin, path, blank)

    def _text(self, value: Any, node: Any, path: str) -> Any:
        """The value of a scalar; text that cannot be written is a problem."""
        if not isinstance(value, str) or not (found := UNWRITABLE.search(value)):
            return value
        with suppress(UnicodeDecodeError):  # JSON writes a character beyond 16 bits as a pair of escapes
            value = value.encode("utf-16", "surrogatepass").decode("utf-16")
        if UNWRITABLE.search(value):
            message = f"found the character {printable(found[0])}, allowed those that UTF-8 and file names can hold"
            self.problems.append(Problem(self._at(node.start_mark), path, message))
        return value

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}

        def refuse(where: Origin, at: str, message: str) -> None:
            self.problems.append(Problem(where, at, message))

        for key, value in node.value:
            where = self._at(key.start_mark)
            name = self._text(key.value, key, path) if isinstance(key, yaml.ScalarNode) else None
            if name is None or (key.style is None and not isinstance(scalar(name), str)):
                found = "a list or mapping" if name is None else name or "nothing"
                refuse(where, path, f"found {found} as a key, allowed text")
            elif name == "<<" and key.style is None:
                refuse(where, join(path, name), "found a merge key, allowed no `<<`; use `extends`")
            elif name in entries:
                first = entries[name].key_origin or where
                place = f"line {first.line}, column {first.column}"
                refuse(where, join(path, name), f"found the key twice, first at {place}; keep one")
            else:
                entries[name] = self._node(value, join(path, name), where, depth + 1)
        return entries


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML's own rules leave `1e-3` plain, which is a number in this language
    style = None if isinstance(scalar(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def write(plain: Any) -> str:
    """Write plain data as YAML that `parse` reads back."""
    how: dict[str, Any] = {"sort_keys": False, "default_flow_style": None, "width": 110, "allow_unicode": True}
    return yaml.dump(plain, Dumper=_Dumper, **how)
