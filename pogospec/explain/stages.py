"""The stages of a schedule as a reader needs them: labels, what is learned by when, and what a reference means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pogospec import registry
from pogospec.compiler.nodes import proximal_terms
from pogospec.compiler.program import together
from pogospec.policies.base import Point
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.base import Proximal

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Stage:
    """One Euler step of the schedule, at one repetition."""

    index: int
    label: str
    step: StepSpec
    path: str  # of the step in the spec
    repetition: int
    proximal: tuple[Proximal, ...]
    earlier: dict[str, str]  # learner -> label of the last stage before this one that learned it
    moves_targets: bool  # a critic is learned here or later
    target: Any | None = None  # the known energy, where there is one state and no data
    at_once: bool = False  # whether it is an actor of a concurrent chain
    beside: Stage | None = None  # of a further actor of such a chain: the first
    policy: Any = None  # its family
    behavior: Any = None  # that of the behaviour
    averaged: frozenset[str] = frozenset()  # learners whose weights, as the stage finds them, are averaged ones

    @property
    def learns_policy(self) -> bool:
        """Whether this is an Euler step."""
        return "policy" in self.step.learn

    @property
    def weighs_data(self) -> bool:
        """Whether this is an explicit step from data, which takes no distance."""
        return self.learns_policy and self.step.from_ == "data" and kind_of("scheme", self.step.scheme) == "explicit"

    @property
    def is_set(self) -> bool:
        """Whether the policy is set in closed form, without an optimiser."""
        scheme: Any = self.step.scheme
        return self.target is not None and self.learns_policy and scheme.closed

    @property
    def bootstrap(self) -> str:
        """Whose next actions the critic learns from: policy, or behavior while no policy was learned."""
        learned = {*self.earlier, *self.step.learn}
        return "policy" if "policy" in learned or "behavior" not in learned else "behavior"

    @property
    def meanwhile(self) -> set[str]:
        """What is learned in the updates of this stage."""
        return {*self.step.learn, *(self.beside.step.learn if self.beside else ())}

    @property
    def policy_updates(self) -> int:
        """Updates of the policy in this stage."""
        return self.step.policy_updates(self.step.updates) if self.learns_policy else 0

    @property
    def symbol(self) -> tuple[str, str]:
        """Text and LaTeX of the policy that the stage ends with."""
        number = self.label.removeprefix("step ")
        if number.isdigit():
            return f"π{number.translate(SUBSCRIPTS)}", rf"\pi_{{{number}}}"
        return "π_next", rf"\pi_{{\text{{{self.label}}}}}"

    def reference(self, name: str) -> tuple[str, str]:
        """Text and LaTeX of a reference of a proximal term."""
        if self.begins_flow(name):
            return "π₀", r"\pi_0"
        if name == "behavior":
            return "π_β", r"\pi_\beta"
        if name == "data":  # known by its actions, of which an explicit step weighs the likelihood
            return ("π_D", r"\pi_{\mathcal{D}}") if self.weighs_data else ("δ_a", r"\delta_a")
        number = self.earlier["policy"].removeprefix("step ")
        if number.isdigit():
            return f"π{number.translate(SUBSCRIPTS)}", rf"\pi_{{{number}}}"
        return "π_prev", r"\pi_{\mathrm{prev}}"

    def types(self, name: str) -> tuple[type, type]:
        """Parameter types of the policy and of a reference of a proximal term."""
        policy = self.policy.parameter_type
        return policy, {"data": Point, "behavior": self.behavior.parameter_type}.get(name, policy)

    def begins_flow(self, name: str) -> bool:
        """Whether a reference is the distribution at which the flow on a known energy starts."""
        return self.target is not None and (name == "behavior" or "policy" not in self.earlier)


@dataclass(frozen=True)
class Group:
    """The repetitions of one step."""

    stages: tuple[Stage, ...]

    @property
    def first(self) -> Stage:
        """The first repetition."""
        return self.stages[0]

    @property
    def label(self) -> str:
        """The labels of all repetitions."""
        return labels(self.stages)

    @property
    def ends(self) -> tuple[Stage, ...]:
        """The first and the last repetition, between which step sizes change one way."""
        return self.stages[:1] + self.stages[1:][-1:]


def labels(several: Sequence[Stage]) -> str:
    """The labels of repetitions that follow each other: step 1, or steps 2 to 20."""
    return together([stage.label for stage in several])


def in_turn(plan: Sequence[Stage]) -> list[Stage]:
    """The stages that updates are spent on, as a program has them: of a concurrent chain the first."""
    return [stage for stage in plan if stage.beside is None]


def groups(plan: list[Stage]) -> list[Group]:
    """The stages of a plan by the steps of the spec."""
    found: dict[str, list[Stage]] = {}
    for stage in plan:
        found.setdefault(stage.path, []).append(stage)
    return [Group(tuple(several)) for several in found.values()]


def stages(spec: Spec) -> list[Stage]:
    """Every stage of a spec, repetitions written out, with the labels that a run prints."""
    plain = [(number, step, k) for number, step in enumerate(spec.schedule.steps) for k in range(step.repeat)]
    found: list[Stage] = []
    earlier: dict[str, str] = {}
    euler, averaged = 0, frozenset()
    last = max((index for index, (_, step, _) in enumerate(plain) if "critic" in step.learn), default=-1)
    first = len(plain) - spec.schedule.at_once
    for index, (number, step, k) in enumerate(plain):
        euler += "policy" in step.learn and step.name is None
        label = step.name or (f"step {euler}" if "policy" in step.learn else "warm-up")
        label = f"{step.name} {k + 1}" if step.name and step.repeat > 1 else label
        terms = tuple(proximal_terms(step, k)) if "policy" in step.learn else ()
        path = f"schedule.steps[{number}]"
        chain = spec.schedule.at_once > 1 and index >= first, found[first] if index > first else None
        about = index, label, step, path, k, terms, dict(earlier), index <= last, spec.target, *chain
        found.append(Stage(*about, spec.policy, spec.behavior, averaged))
        earlier |= dict.fromkeys(step.learn, label)
        means = {name for name in step.learn if getattr(getattr(step.optimizer, name), "average", None)}
        averaged = averaged - set(step.learn) | means
    return found


def kind_of(slot: str, node: Any) -> str:
    """Kind of a node, or the name of its class where it is not registered."""
    try:
        return registry.kind_of(slot, type(node))
    except KeyError:
        return type(node).__name__


def entropy_weight(stage: Stage) -> float:
    """Lambda, the weight of the entropy in the energy of a step; where it is learned, at the beginning."""
    return sum(
        term.weight * (1.0 if term.temperature is None else term.temperature.start)
        for _, term in terms_of(stage, "entropy")
    )


def terms_of(stage: Stage, kind: str) -> Iterator[tuple[str, Any]]:
    """The energy terms of a kind, with their names."""
    for name, term in (stage.step.energy or {}).items():
        if stage.learns_policy and kind_of("energy", term) == kind:
            yield name, term
