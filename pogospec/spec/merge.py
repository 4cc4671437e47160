"""Laying one tree over another: what `extends`, steps and optimisers inherit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pogospec import registry
from pogospec.errors import Origin
from pogospec.spec.annotations import fields_of
from pogospec.spec.build import is_sum
from pogospec.spec.schema import OptimizerSpec
from pogospec.spec.yaml import Node

LEARNERS = ("critic", "behavior", "policy")
DEFAULT = Origin("default")
REPLACE = "replace"
"""The key by which a mapping says that it takes nothing from what it is laid over."""
FREE = re.compile(r"(^|\.)arguments($|[.\[])")
"""Paths of mappings that hold keys of others."""
CHOICES = ("actions", "average", "baseline", "layer_norm")
"""Values whose mapping says by its keys what is meant: {sample: 4} over {hermite: 5}, or a word, is {sample: 4}."""
ADAM = Node({name: Node("adam", DEFAULT) for name in LEARNERS}, DEFAULT)


def merge(low: Node, high: Node, name: str = "") -> Node:
    """Deep merge; lists and nodes of another kind are replaced whole; `name` is the key they stand under.

    A key with nothing after it keeps what it inherits; the word null takes it away; `replace: true` takes away all
    that a mapping would inherit, from wherever.
    """
    if high.whole:
        return high
    if high.blank and isinstance(low.value, (dict, str)):
        return low
    low = open_node(low, high)
    if name == "geometry" and high.value != {} and is_sum(low) != is_sum(high):
        return high
    if isinstance(low.value, dict) and isinstance(high.value, str) and high.value == _kind(low, name):
        return Node(low.value, high.origin, high.key_origin, high.path)
    if not (isinstance(low.value, dict) and isinstance(high.value, dict)):
        return high
    kinds = _kind(low, name), _kind(high, name)
    if "kind" in high.value and kinds[0] is not None and kinds[0] != kinds[1]:
        return high
    if name in CHOICES and not low.value.keys() & high.value.keys():
        return high
    joined = dict(low.value)
    for key, child in high.value.items():
        if child.removes:
            joined.pop(key, None)
        else:
            joined[key] = merge(joined[key], child, key) if key in joined else child
    return Node(joined, high.origin, high.key_origin or low.key_origin, high.path, whole=low.whole)


def marked(node: Node, root: bool = True) -> Node:
    """A tree whose mappings that say `replace: true` are `whole`, and say it no more; not the `root`."""
    if isinstance(node.value, list):
        return replace(node, value=[marked(child, False) for child in node.value])
    if not isinstance(node.value, dict) or FREE.search(node.path):
        return node
    said = node.value.get(REPLACE)
    whole = not root and said is not None and said.value is True
    entries = {key: marked(child, False) for key, child in node.value.items() if not (whole and key == REPLACE)}
    return replace(node, value=entries, whole=whole)


def idle(tree: Node) -> Iterator[Node]:
    """Mappings of a spec without a base that say `replace: true`, though they are laid over nothing."""
    for key, child in tree.value.items():
        schedule = child.value if key == "schedule" and isinstance(child.value, dict) else {}
        if schedule:
            yield from (node for node in (child, schedule.get("defaults")) if node is not None and node.whole)
        elif key not in ("behavior", "optimizer", "tuned", "sweep", "tune"):
            yield from _whole(child)


def _whole(node: Node) -> Iterator[Node]:
    if node.whole:
        yield node
    children = node.value.values() if isinstance(node.value, dict) else node.value
    for child in children if isinstance(node.value, (dict, list)) else ():
        yield from _whole(child)


def _kind(node: Node, name: str) -> Any:
    """Find the kind of a node; the name of an energy term is its kind unless it says otherwise."""
    if "kind" in node.value:
        return node.value["kind"].value
    return name if name in registry.table("energy") or name in registry.table("geometry") else None


def open_node(low: Node, high: Node) -> Node:
    """Make a mapping of a bare kind or nothing, where a mapping is merged on top of it."""
    if isinstance(low.value, str) and isinstance(high.value, dict):
        return replace(low, value={"kind": replace(low, key_origin=low.origin)})
    return replace(low, value={}) if low.value is None and isinstance(high.value, dict) else low


def optimizers(low: Node, high: Node) -> Node:
    """Lay an optimiser over those of the learners; what it takes away is Adam again."""
    joined = merge(low, by_learner(high))
    return merge(ADAM, replace(joined, whole=False)) if isinstance(joined.value, dict) else joined


def by_learner(node: Node) -> Node:
    """Spread an optimiser over the learners; keys beside those of the learners hold for all of them."""
    if not isinstance(node.value, dict):
        return replace(node, value=dict.fromkeys(LEARNERS, node))
    known, one = fields_of(OptimizerSpec), replace(node, whole=False)
    own = {key: child for key, child in node.value.items() if key in known}
    rest = {key: child for key, child in node.value.items() if key not in known}
    if own and "kind" not in rest:
        return node
    shared = replace(one, value=rest)
    return replace(node, value={key: merge(shared, own[key]) if key in own else shared for key in LEARNERS})
