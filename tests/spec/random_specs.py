"""Random valid specs, drawn from the annotations of the registered classes, as plain data of a spec file."""

import dataclasses
import math
import random
import typing
from typing import Any, Literal

from pogospec.checking.check import checked
from pogospec.errors import SpecError
from pogospec.registry import table
from pogospec.spec.build import mark_of, split, to_plain
from pogospec.spec.catalog import REQUIRED, keys_of, kinds_of
from pogospec.spec.fields import Increasing, Length, Slot, Within
from pogospec.spec.resolve import read_text
from pogospec.spec.schema import DataSpec, EvaluateSpec, Spec, StartSpec, StepSpec, TrainSpec
from pogospec.spec.yaml import write
from pogospec.targets.numpyro import registered

WORDS = ("gold", "1e-3", "no", "ünï cödé", "a: b", "#", "two\nlines", "'", "~", "0x1F", "- x", "{", "💡", "2020-01-01")
STEP_KEYS = ("optimizer_state", "actor_every", "target_every", "start", "until", "gradient", "scheme")

FIT = {
    "mixture": lambda keys: keys | {"stds": [0.5] * len(keys["means"]), "weights": None},
    "doubling": lambda keys: keys | {"start": 0.25, "time": 2.5, "longest": None, "tolerance": 0.1},
}
"""What joins several keys of a kind, and so is drawn together."""


def catalogued(slot: str, kind: str) -> type:
    """The class of a kind."""
    return kinds_of(slot)[kind]


class Maker:
    """Draws values that annotations allow; `force` names kinds that must be taken where their slot comes up."""

    def __init__(self, rng: random.Random, force: dict[str, str] | None = None):
        self.rng, self.force = rng, dict(force or {})

    def maybe(self, chance: float = 0.5) -> bool:
        """Whether to take an option."""
        return self.rng.random() < chance

    def number(self, kind: type, marks: list[Any]) -> Any:
        """A number within its bounds; spread over decades where there is room."""
        low, high = -math.inf, math.inf
        for mark in (mark for mark in marks if isinstance(mark, Within)):
            low = max(low, *(bound for bound in (mark.ge, mark.gt) if bound is not None), -math.inf)
            high = min(high, *(bound for bound in (mark.le, mark.lt) if bound is not None), math.inf)
        for _ in range(1000):
            if kind is int:
                first = int(low) if math.isfinite(low) else -5
                value: Any = self.rng.randint(first, first + self.rng.choice((1, 5, 300)))
            elif math.isfinite(low) and math.isfinite(high):
                value = self.rng.choice((self.rng.uniform(low, high), low, high))
            else:
                value = self.rng.choice((0.0, 1.0, 10 ** self.rng.uniform(-9, 9), self.rng.uniform(-3, 3), 0.1, 3))
            if all(mark.holds(value) for mark in marks if isinstance(mark, Within)):
                return value
        raise AssertionError(f"no {kind} is found within {marks}")

    def value(self, annotation: Any, name: str = "") -> Any:
        """A value that an annotation allows."""
        options, marks, null = split(annotation)
        if null and self.maybe(0.3):
            return None
        option = self.rng.choice(options)
        slot = mark_of(marks, Slot)
        if slot is not None and not (option in (float, int) and slot.name not in self.force):
            return self.slot(slot)
        if typing.get_origin(option) is typing.Annotated:
            return self.value(typing.Annotated[(option, *marks)] if marks else option, name)
        if typing.get_origin(option) is Literal:
            return self.rng.choice(typing.get_args(option))
        if typing.get_origin(option) is tuple:
            return self.tuple(option, marks)
        if dataclasses.is_dataclass(option) and isinstance(option, type):
            return self.record(option)
        if typing.get_origin(option) is dict:
            return {self.rng.choice(("g", "frame_skip")): self.rng.choice((2, 0.5, "gold", [1, "g"], {"inner": None}))}
        if option is bool:
            return self.maybe()
        if option is str:
            return self.rng.choice(sorted(registered())) if name == "model" else self.rng.choice(WORDS)
        return self.number(option, marks)

    def tuple(self, option: Any, marks: list[Any]) -> list[Any]:
        """A list of the right length, rising where it must."""
        inner, length = typing.get_args(option), mark_of(marks, Length) or Length()
        if inner[-1] is Ellipsis:
            inner = inner[:1] * max(length.least, self.rng.randint(0, 3))
        bounds = [mark for mark in marks if isinstance(mark, Within)]
        drawn = [self.value(typing.Annotated[(one, *bounds)] if bounds else one) for one in inner]
        return sorted(set(drawn)) if mark_of(marks, Increasing) and len(set(drawn)) == len(drawn) else drawn

    def slot(self, slot: Slot) -> Any:
        """A node, or a mapping from names to nodes."""
        if not slot.named or (slot.named == "also" and self.maybe(0.7)):
            return self.node(slot.name)
        kinds = [self.force.get(slot.name), *self.rng.sample(sorted(table(slot.name)), self.rng.randint(1, 2))]
        named: dict[str, Any] = {}
        for kind in (kind for kind in kinds if kind is not None):
            node = self.node(slot.name, kind)
            if slot.named is True or isinstance(node, dict):
                named[kind if self.maybe(0.7) else f"my-{kind}_{self.rng.randint(0, 9)}"] = node
        return named or self.node(slot.name)

    def node(self, slot: str, kind: str | None = None) -> Any:
        """A node of a slot: a mapping, or now and then a bare kind."""
        kind = kind or self.force.get(slot) or self.rng.choice(sorted(table(slot)))
        cls = kinds_of(slot)[kind]
        if self.maybe(0.2) and not any(key.required for key in keys_of(cls)):
            return kind
        return {"kind": kind} | FIT.get(kind, dict)(self.record(cls))

    def record(self, cls: type, chance: float = 0.4) -> dict[str, Any]:
        """Required keys and some others."""
        taken = [key for key in keys_of(cls) if key.default is REQUIRED or self.maybe(chance)]
        return {key.name: self.value(key.annotation, key.name) for key in taken}

    def spec(self) -> dict[str, Any]:
        """A spec whose parts are often good together; `valid` keeps those that are."""
        keys = {key.name: key.annotation for key in keys_of(Spec)}
        on_target = "target" in self.force or (not self.force and self.maybe(0.3))
        spec: dict[str, Any] = {"policy": self.node("policy"), "energy": self.value(keys["energy"])}
        if "dirac" in str(spec["policy"]):
            self.force.setdefault("geometry", "wasserstein2")
        if any(kind in str(spec["policy"]) for kind in ("transport_map", "flow_matching")):
            self.force.setdefault("geometry", "mmd")
        if self.force.get("scheme") == "forward_backward":
            return self.backward(spec)
        if self.force.get("scheme") in ("natural", "batch_and_match"):
            return self.natural(spec, self.force["scheme"])
        if "particles" in str(spec["policy"]) and not on_target:
            return self.carried(spec)
        spec["schedule"] = {"steps": [self.step(i, on_target) for i in range(self.rng.randint(1, 3))]}
        spec["geometry"] = self.slot(Slot("geometry", named="also"))
        if self.force.keys() & {"judge"} or {"judged", "choice"} & {*self.force.values()}:
            return self.judged(spec)
        if "doubling" in self.force.values():
            return self.doubled(spec)
        if on_target:
            spec["target"] = self.node("target")
            if isinstance(spec["policy"], dict):
                spec["policy"].pop("hidden", None)
            spec |= {"start": self.record(StartSpec)} if self.maybe(0.3) else {}
        else:
            spec["data"] = self.record(DataSpec) | {"holdout": 0.25}
            spec["critic"] = self.node("critic")
            spec["train"] = self.record(TrainSpec)
            spec |= {"behavior": self.node("policy")} if self.maybe(0.3) else {}
        spec |= {key: self.value(keys[key], key) for key in ("name", "about", "seeds", "optimizer") if self.maybe(0.4)}
        spec |= {"evaluate": self.record(EvaluateSpec)} if self.maybe(0.4) else {}
        return dict(self.rng.sample(list(spec.items()), len(spec)))

    def judged(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A spec with a judged step, behind one that learns critic and behaviour; some keep the judge's best."""
        first = {"learn": ["critic", "behavior"], "updates": self.rng.randint(1, 99)}
        step = {"from": "behavior", "start": "behavior", "learn": ["policy"], "updates": self.rng.randint(1, 99)}
        step |= {"tau": self.tau(["policy"]), "judge": self.node("judge")}
        if self.maybe() or "until" in self.force:
            step |= {"until": self.node("until")}
        return spec | {
            "policy": self.node("policy", self.rng.choice(("gaussian", "full_gaussian", "dirac"))),
            "data": self.record(DataSpec) | {"holdout": 0.25},
            "energy": {"q": {"critics": "first", "actions": "mean", "weight": 2.0}},
            "geometry": "wasserstein2",
            "critic": {"kind": "ensemble", "members": self.rng.randint(3, 9), "target_actions": "smoothed_mean"},
            "schedule": {"steps": [first, step]},
        }

    def doubled(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A spec with step doubling, behind a step that learns all that it goes on from."""
        first = {"from": "behavior", "learn": ["critic", "behavior", "policy"], "updates": self.rng.randint(1, 99)}
        step = {"from": "previous", "learn": ["policy"], "updates": self.rng.randint(1, 99), "tau": self.node("tau")}
        return spec | {
            "policy": self.node("policy", self.rng.choice(("gaussian", "full_gaussian"))),
            "data": self.record(DataSpec) | {"holdout": 0.25},
            "energy": {"q": {"weight": 2.0}},
            "geometry": self.node("geometry", self.rng.choice(("wasserstein2", "kl", "hellinger"))),
            "critic": self.node("critic"),
            "schedule": {"steps": [first | {"tau": 2.5}, step | {"repeat": self.rng.randint(2, 9)}]},
        }

    def backward(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A spec of forward-backward steps, which are those of Gaussians under Wasserstein."""
        scheme = {"kind": "forward_backward"} | self.record(catalogued("scheme", "forward_backward"))
        step = {"from": "behavior", "learn": ["critic", "behavior", "policy"], "updates": self.rng.randint(1, 99)}
        return spec | {
            "policy": self.node("policy", self.rng.choice(("gaussian", "full_gaussian"))),
            "data": self.record(DataSpec),
            "energy": {"q": {"weight": 2.0}, "entropy": {"weight": 10 ** self.rng.uniform(-3, 0)}},
            "geometry": "wasserstein2",
            "critic": self.node("critic"),
            "schedule": {"steps": [step | {"tau": 10 ** self.rng.uniform(-2, 1), "scheme": scheme}]},
        }

    def natural(self, spec: dict[str, Any], kind: str) -> dict[str, Any]:
        """A spec of natural steps, or of batch and match, here those of Gaussians on known energies."""
        scheme = {"kind": kind} | self.record(catalogued("scheme", kind))
        kinds = ("kl", "fisher_rao", "gaussian_fisher_rao")
        near = {"kind": "kl", "direction": "reference_to_policy"}
        step = {"tau": self.tau(["policy"]), "scheme": scheme, "repeat": self.rng.randint(1, 9)}
        return spec | {
            "policy": self.rng.choice(("gaussian", "full_gaussian")),
            "target": self.node("target"),
            "energy": {"q": {"weight": 2.0}, "entropy": {"weight": 10 ** self.rng.uniform(-3, 0)}},
            "geometry": self.rng.choice(kinds) if kind == "natural" else near,
            "schedule": {"steps": [step]},
        }

    def carried(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A spec of particles, which take few of the options that others have."""
        scheme = self.record(catalogued("scheme", "explicit"))
        scheme = {key: scheme[key] for key in ("kernel", "moves", "mover", "bound") if key in scheme}
        step = {"from": "behavior", "learn": ["critic", "behavior", "policy"], "updates": self.rng.randint(1, 99)}
        step |= {"tau": 10 ** self.rng.uniform(-2, 1), "scheme": {"kind": "explicit", "kernel": "stein"} | scheme}
        actions = {
            "kind": "policy_sample",
            "samples": self.rng.randint(1, 5),
            "over": self.rng.choice(("best", "mean")),
        }
        return spec | {
            "data": self.record(DataSpec),
            "behavior": self.node("policy", self.rng.choice(("gaussian", "flow_matching"))),
            "energy": {"q": {"weight": 2.0}} | ({"entropy": {"weight": 0.1}} if scheme.get("kernel") != "none" else {}),
            "geometry": {"kind": "wasserstein2", "coupling": {"shared_noise": self.rng.randint(1, 9)}},
            "critic": {"kind": self.rng.choice(("clipped_double_q", "ensemble")), "target_actions": actions},
            "schedule": {"steps": [step]},
        }

    def step(self, index: int, on_target: bool) -> dict[str, Any]:
        """A step of the schedule, which learns what it needs more often than not."""
        keys = {key.name: key.annotation for key in keys_of(StepSpec)}
        first = ["critic", "behavior", "policy"]
        learn = (
            ["policy"]
            if on_target or (index and self.maybe())
            else self.rng.choice((first, first, first[:1] + first[2:]))
        )
        step: dict[str, Any] = {"learn": learn, "updates": self.rng.randint(1, 10**6)}
        if self.maybe(0.8):
            before = ["previous"] if index or on_target else []
            step |= {
                "from": self.rng.choice(["behavior", "behavior", "data", *before, *before]),
                "tau": self.tau(learn),
            }
        elif self.maybe():
            term = {"reference": self.rng.choice(["behavior", "data"]), "tau": self.tau(learn)}
            step["proximal"] = [term | ({"geometry": self.node("geometry")} if self.maybe() else {})]
        taken = [key for key in STEP_KEYS if self.maybe(0.15) or (key in self.force and index == 0)]
        step |= {key: self.value(keys[key], key) for key in taken}
        return step | ({"repeat": self.rng.randint(2, 4)} if self.maybe(0.2) else {})

    def tau(self, learn: list[str]) -> Any:
        """A step size: a number, or a rule; backtracking is for steps that learn the policy alone."""
        chance = 0.0 if learn != ["policy"] else 1.0 if "tau" in self.force else 0.2
        return self.node("tau") if self.maybe(chance) else 10 ** self.rng.uniform(-3, 2)


def problems(plain: dict[str, Any]) -> tuple[Any, list[str]]:
    """The spec of plain data, and what is wrong with it."""
    try:
        return checked(read_text(write(plain), "random.yaml")), []
    except SpecError as error:
        return None, [str(problem) for problem in error.problems]


def valid(seed: Any, force: dict[str, str] | None = None, tries: int = 4000) -> tuple[dict[str, Any], Any]:
    """A random valid spec with the forced kinds in it: its plain data, and the spec."""
    rng, last = random.Random(f"{seed}"), []
    for _ in range(tries):
        plain = Maker(rng, force).spec()
        spec, last = problems(plain)
        if spec is not None and all(has_kind(to_plain(spec), kind) for kind in (force or {}).values()):
            return plain, spec
    raise AssertionError(f"{force}: no valid spec in {tries} tries; the last had: {last}")


def has_kind(plain: Any, kind: str) -> bool:
    """Whether some node of a spec is of a kind."""
    if isinstance(plain, dict):
        return plain.get("kind") == kind or any(has_kind(item, kind) for item in plain.values())
    return isinstance(plain, list) and any(has_kind(item, kind) for item in plain)
