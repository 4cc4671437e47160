"""Specs with a target instead of data: what they need not say, since a known energy has no states and no critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pogospec import registry
from pogospec.errors import Origin
from pogospec.spec.annotations import fields_of
from pogospec.spec.build import Builder
from pogospec.spec.merge import open_node
from pogospec.spec.yaml import Node, tree_of

DEFAULT = Origin("default")
POLICY = {"hidden": [], "mean": "linear", "log_std": [-20.0, 10.0]}
"""Defaults of a policy that depends on no state and has no bounds."""
PREFIX = "target/"
"""What the data of such a spec are called, before the kind of the target."""


def complete(tree: Node, builder: Builder) -> bool:
    """Lay defaults under a spec that has a target; whether it has one."""
    top = tree.value
    if top.get("target") is None or top["target"].value is None:
        return False
    target = top["target"]
    word = target.value.get("kind") if isinstance(target.value, dict) else target
    kind = str(word.value) if word is not None else "?"
    data = {"dataset": f"{PREFIX}{kind}", "normalize_observations": False}
    if "data" in top and not _made(top["data"]):
        message = "found both target and data, allowed one of them; keep one of both, remove one"
        builder.fail(target, "target", message, at_key=True)
        del top["target"]
        return False
    if "data" not in top:
        top["data"] = tree_of(data, DEFAULT)
    if "policy" in top:
        top["policy"] = _policy(top["policy"])
    if "behavior" in top and "policy" in top and _differs(top["behavior"], top["policy"]):
        message = "found behavior beside target, where nothing is fitted; the flow starts at `start`, remove behavior"
        builder.fail(top["behavior"], "behavior", message, at_key=True)
    if "policy" in top:
        top["behavior"] = replace(top["policy"], key_origin=None)
    top["train"] = _laid({"batch_size": 1}, top.get("train", Node({}, DEFAULT)))
    return True


def known_step(step: Node, defaults: Node) -> Node:
    """A step on a known energy: it learns the policy, and is re-centred at the one before, unless it says otherwise.

    One that is set in closed form has one update.
    """
    if not isinstance(step.value, dict):
        return step
    said = defaults.value.keys() | step.value.keys()
    made: dict[str, Node] = {}
    if "learn" not in said:
        made["learn"] = Node([Node("policy", DEFAULT)], DEFAULT)
    if "from" not in said and "proximal" not in said and "tau" in said:
        made["from"] = Node("previous", DEFAULT)
    schemes = [laid.value["scheme"] for laid in (step, defaults) if "scheme" in laid.value]
    if "updates" not in said and _closed(schemes):
        made["updates"] = Node(1, DEFAULT)
    return replace(step, value=made | step.value)


def _closed(schemes: Sequence[Node]) -> bool:
    """Whether a scheme, as written in a step and laid over others, sets the policy where Q is known."""
    for scheme in schemes:
        word = scheme.value
        kind = word.get("kind", Node(None, DEFAULT)).value if isinstance(word, dict) else word
        if kind is not None:
            return isinstance(kind, str) and kind in registry.table("scheme") and registry.load("scheme", kind).closed
    return False


def _made(data: Node) -> bool:
    """Whether data are those that a target stands for, as a resolved spec says."""
    dataset = data.value.get("dataset") if isinstance(data.value, dict) else None
    return dataset is not None and str(dataset.value).startswith(PREFIX)


def _policy(policy: Node) -> Node:
    kind = policy.value if isinstance(policy.value, str) else None
    if isinstance(policy.value, dict) and "kind" in policy.value:
        kind = policy.value["kind"].value
    if not isinstance(kind, str) or kind not in registry.table("policy"):
        return policy
    fields = fields_of(registry.load("policy", kind))
    opened = open_node(policy, Node({}, DEFAULT))
    return _laid({key: value for key, value in POLICY.items() if key in fields}, opened)


def _laid(defaults: dict[str, Any], node: Node) -> Node:
    """A mapping with defaults for what it does not say."""
    return replace(node, value=tree_of(defaults, DEFAULT).value | node.value) if isinstance(node.value, dict) else node


def _differs(behavior: Node, policy: Node) -> bool:
    """Whether a behaviour says something else than the policy; a resolved spec repeats it."""
    from pogospec.spec.yaml import plain_of

    return plain_of(behavior) != plain_of(policy)
