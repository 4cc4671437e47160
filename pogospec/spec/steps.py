"""Euler steps as written -> their long form, with all they inherit."""

from __future__ import annotations

from dataclasses import replace

from pogospec.errors import Origin
from pogospec.spec.build import Builder, fields_of
from pogospec.spec.merge import LEARNERS, by_learner, merge, terms
from pogospec.spec.schema import ProximalSpec, Spec, StepSpec
from pogospec.spec.yaml import Node, join, show

DEFAULT = Origin("default")
POLICY_KEYS = ("from", "tau", "geometry", "proximal", "energy", "gradient", "scheme", "start", "actor_every")
"""Keys that mean nothing in a step that does not learn the policy."""


def defaults_of(schedule: Node, builder: Builder) -> Node:
    """Take `schedule.defaults` out of the tree; its keys are those of steps."""
    defaults = schedule.value.pop("defaults", None) or Node({}, DEFAULT)
    if not isinstance(defaults.value, dict):
        message = f"found {show(defaults.value)}, allowed a mapping of step keys"
        builder.fail(defaults, "schedule.defaults", message)
        return Node({}, DEFAULT)
    known = fields_of(StepSpec)
    for key, node in defaults.value.items():
        if key not in known:
            builder.unknown(node, f"schedule.defaults.{key}", key, known)
    return replace(defaults, value={key: node for key, node in defaults.value.items() if key in known})


def long_step(step: Node, path: str, defaults: Node, tree: Node, builder: Builder) -> Node:
    """Merge what a step inherits under what it says; note what it lacks and what it says in vain."""
    top, entries = tree.value, {"learn": Node([Node(name, DEFAULT) for name in LEARNERS], DEFAULT)}
    entries |= {
        key: top[key] for key in ("energy", "geometry", "optimizer") if key in top and top[key].value is not None
    }
    entries |= {"gradient": Node("euclidean", DEFAULT), "scheme": Node("implicit", DEFAULT)}
    for layer in (defaults, step):
        for key, node in layer.value.items():
            if node.value is None and key in POLICY_KEYS:
                continue
            if key in ("optimizer", "energy"):
                node = by_learner(node) if key == "optimizer" else terms(node)
            entries[key] = merge(entries[key], node, key) if key in entries else node
    learn = entries["learn"].value
    if isinstance(learn, list) and all(learner.value != "policy" for learner in learn):
        _refuse_in_vain(step, path, builder)
        entries = {key: node for key, node in entries.items() if key not in POLICY_KEYS}
    elif "proximal" in entries:
        entries = _long_proximal(entries, step, path, tree, builder)
    elif "from" in entries:
        _need(entries, step, path, tree, builder)
    elif entries.keys() & {"tau", "geometry"}:
        builder.missing(step, path, "from", fields_of(ProximalSpec)["reference"][0])
    return Node(entries, step.origin, step.key_origin, step.path)


def _refuse_in_vain(step: Node, path: str, builder: Builder) -> None:
    """Refuse what a step says about the policy where it does not learn it."""
    fields = fields_of(StepSpec)
    for key in POLICY_KEYS:
        node = step.value.get(key)
        if node is not None and node.value is not None and node.value != fields[key][1].default:
            message = f"found {key}, but this step does not learn the policy; remove it, or add policy to `learn`"
            builder.fail(node, join(path, key), message, at_key=True)


def _need(entries: dict[str, Node], step: Node, path: str, tree: Node, builder: Builder) -> None:
    """Note what a proximal term cannot do without."""
    if "tau" not in entries:
        builder.missing(step, path, "tau", fields_of(StepSpec)["tau"][0])
    if "geometry" not in entries:
        builder.missing(tree, "", "geometry", fields_of(Spec)["geometry"][0])


def _long_proximal(entries: dict[str, Node], step: Node, path: str, tree: Node, builder: Builder) -> dict[str, Node]:
    """Give each term of the long form the geometry and tau of the step where it has none of its own."""
    if "from" in entries:
        message = "found both from and proximal, allowed one of them; `reference` of each term says what from would"
        builder.fail(entries["from"], join(path, "from"), message, at_key=True)
    proximal, whole = entries["proximal"], []
    shared = {key: entries[key] for key in ("geometry", "tau") if key in entries}
    written = proximal.value if isinstance(proximal.value, list) else []
    for term in written:
        if not isinstance(term.value, dict):
            whole.append(term)
            continue
        own = {key: node for key, node in term.value.items() if node.value is not None}
        inherited = {key: node for key, node in shared.items() if key not in own}
        whole.append(replace(term, value=inherited | own))
    for key in ("geometry", "tau"):
        node = step.value.get(key)
        in_vain = node is not None and node.value is not None and written
        if node is not None and in_vain and all(isinstance(t.value, dict) and key in t.value for t in written):
            message = f"found {key}, but every term of proximal has its own; remove it"
            builder.fail(node, join(path, key), message, at_key=True)
    rest = {key: node for key, node in entries.items() if key not in ("from", "geometry", "tau")}
    return rest | {"proximal": replace(proximal, value=whole) if written else proximal}
