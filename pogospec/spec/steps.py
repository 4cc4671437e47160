"""Euler steps as written -> their long form, with all they inherit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pogospec.errors import Problem
from pogospec.spec.annotations import fields_of
from pogospec.spec.build import Builder
from pogospec.spec.merge import ADAM, DEFAULT, LEARNERS, merge, optimizers
from pogospec.spec.schema import ProximalSpec, Spec, StepSpec
from pogospec.spec.yaml import Node, join, show

POLICY_KEYS = (
    *("from", "tau", "geometry", "proximal", "energy", "gradient", "scheme", "start"),
    *("actor_every", "actor_on", "order", "slow_policy", "judge"),
)
"""Keys that mean nothing in a step that does not learn the policy."""
BEHAVIOR_KEYS = ("behavior_gradient", "behavior_batch")
"""Keys that mean nothing in a step that does not learn the behaviour."""
INHERITED = (*POLICY_KEYS, "optimizer")
"""Keys that, with nothing after them, keep what a step inherits."""


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


def idle_defaults(defaults: Node, steps: Sequence[Node]) -> list[Problem]:
    """Values of `schedule.defaults`, but for those of a base, that every step has of its own."""
    found = []
    for key, node in defaults.value.items():
        own = [step.value.get(key) for step in steps if isinstance(step.value, dict)]
        said = [one for one in own if one is not None and not one.blank and one.origin.layer in ("file", "base")]
        if isinstance(node.value, dict) or node.origin.layer == "base" or not 0 < len(steps) == len(said):
            continue
        places = ", ".join(dict.fromkeys(str(one.origin) for one in said))
        message = f"no step takes {show(node.value)}, since each has its own ({places})"
        path = f"schedule.defaults.{key}"
        found.append(Problem(node.origin, path, f"{message}; --set 'schedule.steps[*].{key}=…' sets those of all"))
    return found


def long_step(step: Node, path: str, defaults: Node, tree: Node, builder: Builder) -> Node:
    """Merge what a step inherits under what it says; note what it lacks and what it says in vain."""
    top, plain = tree.value, {"gradient": Node("euclidean", DEFAULT), "scheme": Node("implicit", DEFAULT)}
    plain |= {"learn": Node([Node(name, DEFAULT) for name in LEARNERS], DEFAULT), "optimizer": ADAM}
    inherited = {key: top[key] for key in ("energy", "geometry", "optimizer") if key in top}
    entries = plain | {key: node for key, node in inherited.items() if node.value is not None}
    removed: set[str] = set()
    for layer in (step,) if step.whole else (defaults, step):
        for key, node in layer.value.items():
            removed -= {key}
            if node.removes:
                removed.add(key)
                entries.pop(key, None)
                entries |= {key: plain[key]} if key in plain else {}
            elif node.blank and key in INHERITED:
                continue
            elif key == "optimizer":
                entries[key] = optimizers(entries[key], node)
            else:
                entries[key] = merge(entries[key], node, key) if key in entries else node
    entries, learns_policy = _without_vain(entries, step, path, builder)
    if not learns_policy:
        return Node(entries, step.origin, step.key_origin, step.path)
    if "proximal" in entries:
        entries = _long_proximal(entries, step, path, tree, builder)
    elif "from" in entries:
        _need(entries, step, path, tree, builder)
    elif "from" in removed:
        why = "`from: null` leaves no proximal term; remove one of both"
        _refuse(step, ("tau", "geometry"), why, path, builder)
        entries = {key: node for key, node in entries.items() if key not in ("tau", "geometry")}
    elif entries.keys() & {"tau", "geometry"}:
        builder.missing(step, path, "from", fields_of(ProximalSpec)["reference"][0])
    return Node(entries, step.origin, step.key_origin, step.path)


def _without_vain(entries: dict[str, Node], step: Node, path: str, builder: Builder) -> tuple[dict[str, Node], bool]:
    """Take away, or refuse, what means nothing without the policy or the behaviour; whether the policy is learned."""
    learn, learns_policy = entries["learn"].value, True
    keys = {"policy": ("policy", POLICY_KEYS), "behavior": ("behaviour", BEHAVIOR_KEYS)}
    for learner, (name, vain) in keys.items():
        if isinstance(learn, list) and all(one.value != learner for one in learn):
            why = f"this step does not learn the {name}; remove it, or add {learner} to `learn`"
            _refuse(step, vain, why, path, builder)
            entries = {key: node for key, node in entries.items() if key not in vain}
            learns_policy &= learner != "policy"
    return entries, learns_policy


def _refuse(step: Node, keys: Iterable[str], why: str, path: str, builder: Builder) -> None:
    """Refuse what a step says in vain."""
    fields = fields_of(StepSpec)
    for key in keys:
        node = step.value.get(key)
        said = node is not None and node.origin != DEFAULT and _said(step, key)
        if node is not None and said and node.value != fields[key][1].default:
            builder.fail(node, join(path, key), f"found {key}, but {why}", at_key=True)


def _said(term: Node, key: str) -> bool:
    """Whether a mapping gives a key a value."""
    return key in term.value and term.value[key].value is not None


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
        if written and all(isinstance(t.value, dict) and _said(t, key) for t in written):
            _refuse(step, (key,), "every term of proximal has its own; remove it", path, builder)
    rest = {key: node for key, node in entries.items() if key not in ("from", "geometry", "tau")}
    return rest | {"proximal": replace(proximal, value=whole) if written else proximal}
