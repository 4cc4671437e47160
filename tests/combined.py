"""What the language lets one combine: nodes of every registered kind, and specs that are made of them.

Each kind comes plain and with every other choice of each of its keys, as the annotations tell them, so that new kinds
and new keys take part by themselves.
"""

import dataclasses
import functools
import itertools
import json
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from pogospec.checking.check import checked
from pogospec.errors import Problem, SpecError
from pogospec.registry import load, table
from pogospec.spec.annotations import mark_of, split
from pogospec.spec.catalog import keys_of, kinds_of
from pogospec.spec.fields import Slot, Within
from pogospec.spec.resolve import read_text
from pogospec.spec.schema import Spec

REFERENCES = ("previous", "data", "behavior")
FAMILIES = [kind for kind, family in kinds_of("policy").items() if not family.borrows]
"""Those with networks of their own; what particles may be combined with is held in `tests/test_particle_runs.py`."""
SMALL = {"hidden": [4], "members": 3, "conditioner": [4], "layers": 2}
GIVEN = {"divergence": {"geometry": "wasserstein2", "weight": 0.1}, "lagrange": {"gap": 1.0}}
"""Required keys of nodes and records, which annotations have no value for."""
MANY = 4
"""Samples and nodes: more than there are dimensions, as a curvature takes."""
NETWORK = {"initialization", "activation", "layer_norm"}
"""What is asked of the networks of policies and critics alone."""
Node = dict[str, Any]


def nodes(slot: str, kind: str) -> list[Node]:
    """A plain node of a kind, and one for each other choice of each of its keys."""
    return [_plain(slot, kind), *({**_plain(slot, kind), name: value} for name, value in _choices(slot, kind))]


def turned(slot: str, kind: str, turn: int) -> Node:
    """A node in which every key takes another choice, if it has so many: the first, the second, and so on in a ring."""
    node = _plain(slot, kind)
    for name, choices in itertools.groupby(_choices(slot, kind), lambda choice: choice[0]):
        ring = [{}, *({name: value} for _, value in choices)]
        node |= ring[turn % len(ring)]
    return node


def _plain(slot: str, kind: str) -> Node:
    keys = keys_of(kinds_of(slot)[kind])
    small = {key.name: SMALL[key.name] for key in keys if key.name in SMALL}
    return {"kind": kind} | small | {key.name: GIVEN[kind][key.name] for key in keys if key.required}


def _choices(slot: str, kind: str) -> Iterator[tuple[str, Any]]:
    for key in keys_of(kinds_of(slot)[kind]):
        if not key.required and not (slot == "geometry" and key.name in NETWORK):
            yield from ((key.name, value) for value in others(key.annotation, key.default, key.name))


def others(annotation: Any, default: Any, name: str) -> Iterator[Any]:
    """Other choices than the default: words, records, kinds of a slot, a number where there was none."""
    options, marks, null = split(annotation)
    if slot := mark_of(marks, Slot):
        kinds = [kind for kind in table(slot.name) if kind != (default or {}).get("kind")]
        yield from (_plain(slot.name, kind) for kind in kinds)
        return
    for option in options:
        (option, *_), inner, _ = split(option)
        if typing.get_origin(option) is Literal:
            yield from (word for word in typing.get_args(option) if word != default)
        elif option is bool:
            yield not default
        elif dataclasses.is_dataclass(option) and isinstance(option, type):
            yield GIVEN.get(name) or {key.name: _required(key) for key in keys_of(option) if key.required}
        elif option in (int, float) and null and default is None:
            bounds = mark_of([*marks, *inner], Within)
            yield next(n for n in (option(2), option(1), 0.5) if bounds is None or bounds.holds(n))


def _required(key: Any) -> Any:
    words = [word for option in split(key.annotation)[0] for word in typing.get_args(option)]
    return words[-1] if words else MANY


def problems_of(plain: Node) -> tuple[Problem, ...]:
    """What `check` has against plain data."""
    try:
        spec_of(plain)
    except SpecError as error:
        return tuple(error.problems)
    return ()


def spec_of(plain: Node) -> Spec:
    """The spec of plain data."""
    return checked(read_text(json.dumps(plain), "combined.yaml"))  # JSON is YAML, and soon written


def step(reference: str, geometry: Any, scheme: Any, gradient: Any, energy: Node, updates: int) -> Node:
    """An Euler step."""
    told = {"from": reference, "tau": 0.5, "geometry": geometry, "scheme": scheme, "gradient": gradient}
    return told | {"energy": energy, "learn": ["policy"], "updates": updates}


def _kind(node: Any) -> str:
    return node["kind"] if isinstance(node, dict) else node


class Ground(NamedTuple):
    """What steps stand on: families and a critic, or a known energy."""

    policy: Node
    behavior: Node | None = None
    critic: Node | None = None
    energy: Node | None = None  # of the first step, which learns all there is
    target: Node | None = None
    mode: str = "concurrent"

    def spec(self, steps: Sequence[Node], updates: int) -> Node:
        """Plain data of a spec with these steps."""
        plain = {"policy": self.policy, "energy": {"q": {}}, "optimizer": {"kind": "adam", "learning_rate": 0.01}}
        if self.target is not None:
            closed = [kinds_of("scheme")[_kind(one["scheme"])].closed for one in steps]
            steps = [one | {"updates": 1} if set_ else one for one, set_ in zip(steps, closed, strict=True)]
            plain = plain if not all(closed) else {key: plain[key] for key in ("policy", "energy")}
            return plain | {"target": self.target, "schedule": {"steps": steps}}
        first = {"learn": ["critic", "behavior", "policy"], "updates": updates, "energy": self.energy}
        schedule = {"mode": self.mode, "steps": [first, *steps]}
        plain |= {"behavior": self.behavior, "critic": self.critic, "schedule": schedule}
        return plain | {"data": {"dataset": "pocket/reacher-mixed"}, "train": {"batch_size": 8}}


def grounds(family: str, number: int) -> Ground:
    """The family in a ring of its choices, beside one of its own kind or the next one, and a critic that may be."""
    kinds, critics = FAMILIES, list(table("critic"))
    place = kinds.index(family)
    policy, behavior = (turned("policy", kind, number) for kind in (family, kinds[(place + number) % len(kinds)]))
    for offset, turn in itertools.product(range(len(critics)), (number, 0)):
        critic = turned("critic", critics[(place + number + offset) % len(critics)], turn)
        for energy in ({"q": {}, "entropy": {}}, {"q": {}}):
            ground = Ground(policy, behavior, critic, energy)
            if not problems_of(ground.spec([], 1)):
                return ground
    raise AssertionError(f"no critic serves {family}")


@functools.cache
def terms() -> list[Node]:
    """Every choice of every term of the energy."""
    return [node for kind in table("energy") for node in nodes("energy", kind)]


def allowed(ground: Ground, references: Sequence[str], turn: int, updates: int, *, whole: bool = True) -> list[Node]:
    """A step for each combination of geometry, scheme and reference, and of geometry, scheme and gradient.

    That is, for those that `check` lets pass; geometries by samples, which see no more of a reference than actions,
    have one reference each. Further choices of each, and terms of the energy, two at a time, take turns; `whole`: those
    terms that had none come together in a last step of each scheme, and all gradients are there.
    """
    found: list[Node] = []
    for scheme in table("scheme"):
        left = {str(term): term for term in terms()}
        first, *others = table("gradient")
        parts = [
            (geometry, first, reference)
            for place, (geometry, cls) in enumerate(kinds_of("geometry").items())
            for reference in (_ring(list(references), place + turn)[:1] if cls.by_samples else references)
        ]
        parts += [(*pair, references[0]) for pair in itertools.product(table("geometry"), others) if whole]
        for geometry, gradient, reference in parts:
            turn += 1
            one = _tried(ground, reference, geometry, scheme, gradient, turn, updates)
            if one is None:
                continue
            found.append(one)
            for term in one["energy"].values():
                left.pop(str(term), None)
        last = next((one for one in reversed(found) if one["scheme"]["kind"] == scheme), None)
        if last is None or not whole:
            continue
        more: Node = {}
        for number, term in enumerate(left.values()):
            one = {f"{term['kind']}-{number}": term}
            if not problems_of(ground.spec([last | {"energy": warmth(scheme) | one}], updates)):
                more |= one
        found += [last | {"energy": warmth(scheme) | more}] if more else []
    return found


def warmth(scheme: str) -> Node:
    """The entropy, of a scheme that has no meaning without."""
    return {"entropy": {}} if getattr(load("scheme", scheme), "warm", False) else {}


def _tried(
    ground: Ground, reference: str, geometry: str, scheme: str, gradient: str, turn: int, updates: int
) -> Node | None:
    """The step of a combination, or None where all choices are refused."""
    refused = lambda one: problems_of(ground.spec([one], updates))  # noqa: E731
    for node in _ring(nodes("geometry", geometry), turn):
        one = step(reference, node, {"kind": scheme}, gradient, warmth(scheme) | {"action_norm": {}}, updates)
        if found := refused(one):
            if any(problem.path.endswith((".gradient", ".from")) for problem in found):
                return None
            continue
        one |= {"scheme": next(s for s in _ring(nodes("scheme", scheme), turn) if not refused(one | {"scheme": s}))}
        energy: Node = {}
        for term in _ring(terms(), 5 * turn):
            alone = warmth(scheme) | {term["kind"]: term}
            if term["kind"] not in energy and not refused(one | {"energy": alone}):
                energy[term["kind"]] = term
            if len(energy) == 2:
                break
        return one | {"energy": warmth(scheme) | energy}
    return None


def _ring(items: list[Any], turn: int) -> list[Any]:
    first = turn % len(items)
    return items[first:] + items[:first]
