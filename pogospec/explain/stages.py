"""The stages of a schedule as a reader needs them: labels, what is learned by when, and what a reference means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pogospec import registry
from pogospec.compile import proximal_terms
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

    @property
    def learns_policy(self) -> bool:
        """Whether this is an Euler step."""
        return "policy" in self.step.learn

    @property
    def bootstrap(self) -> str:
        """Whose next actions the critic learns from: policy, or behavior while no policy was learned."""
        learned = {*self.earlier, *self.step.learn}
        return "policy" if "policy" in learned or "behavior" not in learned else "behavior"

    @property
    def policy_updates(self) -> int:
        """Updates of the policy in this stage."""
        return self.step.updates // self.step.actor_every if self.learns_policy else 0

    def reference(self, name: str) -> tuple[str, str]:
        """Text and LaTeX of a reference of a proximal term."""
        if name == "behavior":
            return "π_β", r"\pi_\beta"
        if name == "data":
            return "δ_a", r"\delta_a"
        number = self.earlier["policy"].removeprefix("step ")
        if number.isdigit():
            return f"π{number.translate(SUBSCRIPTS)}", rf"\pi_{{{number}}}"
        return "π_prev", r"\pi_{\mathrm{prev}}"


def stages(spec: Spec) -> list[Stage]:
    """Every stage of a spec, repetitions written out, with the labels that a run prints."""
    plain = [(number, step, k) for number, step in enumerate(spec.schedule.steps) for k in range(step.repeat)]
    found: list[Stage] = []
    earlier: dict[str, str] = {}
    euler = 0
    for index, (number, step, k) in enumerate(plain):
        euler += "policy" in step.learn and step.name is None
        label = step.name or (f"step {euler}" if "policy" in step.learn else "warm-up")
        label = f"{step.name} {k + 1}" if step.name and step.repeat > 1 else label
        targets = any("critic" in other.learn for _, other, _ in plain[index:])
        terms = tuple(proximal_terms(step, k)) if "policy" in step.learn else ()
        found.append(Stage(index, label, step, f"schedule.steps[{number}]", k, terms, dict(earlier), targets))
        earlier |= dict.fromkeys(step.learn, label)
    return found


def kind_of(slot: str, node: Any) -> str:
    """Kind of a node, or the name of its class where it is not registered."""
    try:
        return registry.kind_of(slot, type(node))
    except KeyError:
        return type(node).__name__


def terms_of(stage: Stage, kind: str) -> Iterator[tuple[str, Any]]:
    """The energy terms of a kind, with their names."""
    for name, term in (stage.step.energy or {}).items():
        if stage.learns_policy and kind_of("energy", term) == kind:
            yield name, term
