"""Damaged copies of specs: of their trees, of their text, and of the overrides that go with them."""

import copy
import random
from collections.abc import Callable
from typing import Any

from pogospec.spec.yaml import parse, plain_of, write

NUMBERS = (0, 1, -1, 2, 3.5, 0.5, 1e-3, 1e-45, 1e39, 1e308, -1e308, 2**31, 2**63, 10**30, 10**90, 10**400, 5e-324)
WORDS = (
    "",
    " ",
    "x",
    "kl",
    "dirac",
    "gaussian",
    "1e-3",
    "5",
    "null",
    "ünï cödé",
    "💡",
    "a.b",
    "[0]",
    "*",
    "\u202e",
    "kind",
)
WORDS += ("a" * 3000, "two\nlines", "\t", "'", "../../etc/x", "/", "%s", "{0}", "previous", "behavior", "data", "\x7f")
OTHERS = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"kind": None},
    {"kind": "x"},
    {"": 1},
    {"a": {"b": {"c": [1]}}},
    [1] * 50,
)
TEXTS = (
    "\t",
    "\n",
    " ",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "'",
    '"',
    "&a ",
    "*a",
    "!x ",
    "|",
    ">",
    "%",
    "@",
    "?",
)
TEXTS += (
    "---\n",
    "...\n",
    "\x00",
    "\x07",
    "\u2028",
    "\ufeff",
    "ü",
    "💡",
    "<<: ",
    "~",
    "=",
    "\r",
    "\ud800",
    "0x1",
    "1_0",
    ".inf",
)
VALUES = (
    "",
    "1",
    "-1",
    "0",
    "1e-3",
    "1e400",
    ".nan",
    "[",
    "{",
    "[1, 2]",
    "{kind: kl}",
    "{a: }",
    "kl",
    "'x",
    "!!int 1",
    "\t",
    "a: b",
)
VALUES += (
    "null",
    "true",
    "💡",
    "*a",
    "&a [*a]",
    "9" * 400,
    "--- 1",
    "{kind: {kind: kl}}",
    "- 1",
    "# x",
    "[" * 99,
    "x" * 5000,
)
SUFFIXES = (
    "",
    ".x",
    "[0]",
    "[*]",
    "[9]",
    ".kind",
    ".weight",
    ".",
    "[",
    "]",
    "..a",
    "[-1]",
    "[x]",
    ".*",
    " ",
    ".💡",
    "[99999999999]",
)

Place = tuple[Any, ...]


def places(tree: Any, path: Place = ()) -> list[Place]:
    """Every path into plain data, the root's first."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, child in items for place in places(child, (*path, key)))]


def at(tree: Any, place: Place) -> Any:
    """The value at a path."""
    for part in place:
        tree = tree[part]
    return tree


def junk(rng: random.Random, tree: Any) -> Any:
    """A value that is likely wrong anywhere: of any type, any size, or from elsewhere in the same tree."""
    return rng.choice(
        (
            lambda: rng.choice(NUMBERS),
            lambda: rng.choice(WORDS),
            lambda: copy.deepcopy(rng.choice(OTHERS)),
            lambda: copy.deepcopy(at(tree, rng.choice(places(tree)))),
            lambda: {rng.choice(WORDS): rng.choice(NUMBERS), "kind": rng.choice(WORDS)},
            lambda: float(rng.choice(("inf", "-inf", "nan"))),
        )
    )()


def _swap(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    parent[key] = junk(rng, tree)


def _scale(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    value = parent[key]
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    parent[key] = value * rng.choice((-1, 0, 2, 0.5, 1e3, 1e-3, 10**9)) if numeric else rng.choice(NUMBERS)


def _retype(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    parent[key] = rng.choice((str, bool, lambda v: [v], lambda v: {"kind": v}, lambda v: {"a": v}))(parent[key])


def _delete(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    del parent[key]


def _rename(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    if isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
        return
    letters = list(str(key)) or ["x"]
    letters[rng.randrange(len(letters))] = rng.choice(("", "x", "_", "💡", "."))
    name = rng.choice(("".join(letters), str(key).upper(), rng.choice(WORDS)))
    items = [(name if k == key else k, v) for k, v in parent.items()]
    parent.clear()
    parent.update(items)


def _add(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    parts = [place[-1] for place in places(tree) if place and isinstance(place[-1], str)]
    value = parent[key]
    if isinstance(value, dict):
        value[rng.choice(parts)] = junk(rng, tree)
    elif isinstance(value, list):
        value.insert(rng.randint(0, len(value)), junk(rng, tree))
    else:
        parent[key] = junk(rng, tree)


def _exchange(rng: random.Random, tree: Any, parent: Any, key: Any) -> None:
    place = rng.choice(places(tree)[1:])
    other = at(tree, place[:-1])
    parent[key], other[place[-1]] = copy.deepcopy(other[place[-1]]), copy.deepcopy(parent[key])


TREE = (_swap, _swap, _scale, _retype, _delete, _rename, _add, _exchange)


def of_tree(rng: random.Random, tree: Any) -> Any:
    """One to three changes of plain data."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        below = places(tree)[1:]
        if not below:
            return tree
        place = rng.choice(below)
        rng.choice(TREE)(rng, tree, at(tree, place[:-1]), place[-1])
    return tree


def of_text(rng: random.Random, text: str) -> str:
    """Text cut short, with characters more, fewer or others, or with lines twice, gone, moved or indented."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        place, lines = rng.randint(0, len(text)), text.splitlines(keepends=True) or [""]
        line = rng.randrange(len(lines))
        change = rng.randrange(8)
        if change == 0:
            text = text[:place]
        elif change == 1:
            text = text[:place] + text[place + rng.randint(1, 8) :]
        elif change in (2, 3):
            text = text[:place] + rng.choice(TEXTS) + text[place + rng.randint(0, 1) :]
        elif change == 4:
            text = "".join([*lines[:line], lines[line], *lines[line:]])
        elif change == 5:
            text = "".join([*lines[:line], *lines[line + 1 :]])
        elif change == 6:
            text = "".join([*lines[:line], rng.choice((" ", "  ", "\t")) + lines[line], *lines[line + 1 :]])
        else:
            rng.shuffle(lines)
            text = "".join(lines)
    return text


def override(rng: random.Random, tree: Any) -> tuple[str, str]:
    """A path, of this tree more often than not, and text that may be a value there."""
    path = ""
    for part in rng.choice(places(tree)):
        path += rng.choice((f"[{part}]", "[*]")) if isinstance(part, int) else f".{part}" if path else str(part)
    path += rng.choice(SUFFIXES) if rng.random() < 0.5 else ""
    value = rng.choice(VALUES) if rng.random() < 0.5 else write(junk(rng, tree)).strip().removesuffix("\n...")
    return path or "x", value


def mutation(rng: random.Random, text: str) -> tuple[str, list[tuple[str, str]]]:
    """A damaged copy of a spec, as text and overrides."""
    tree = plain_of(parse(text, None))
    kind: Callable[[], tuple[str, list[tuple[str, str]]]] = rng.choice(
        (
            lambda: (write(of_tree(rng, tree)), []),
            lambda: (write(of_tree(rng, tree)), []),
            lambda: (of_text(rng, text), []),
            lambda: (text, [override(rng, tree) for _ in range(rng.choice((1, 1, 2)))]),
        )
    )
    return kind()
