"""A compiled flow: pure functions over an explicit state, for one seed; callers vmap over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pogospec.runs.columns import LAST
from pogospec.text import html_table
from pogospec.types import Batch, Key, Params, Space


class Actor(NamedTuple):
    """What evolves of a further actor of a concurrent chain; the first one's stands in the state itself."""

    policy: Params
    geometry: tuple[Any, ...]
    energy: dict[str, Any]
    optimizer: dict[str, Any]
    multiplier: Any
    temperature: Any
    average: dict[str, Any] = {}


class State(NamedTuple):
    """All that evolves. Entries that a program does not need are None."""

    critic: Params
    critic_target: Params
    behavior: Params
    policy: Params
    policy_target: Params
    reference: Params  # the policy with which the step began
    geometry: tuple[Any, ...]  # learned state of each proximal term's geometry
    energy: dict[str, Any]  # what energy terms measured when the first step on this Q began
    optimizer: dict[str, Any]  # learner -> optimiser state
    multiplier: Any = None  # the learned 1/tau of the step
    temperature: Any = None  # energy term -> its learned temperature in the step
    chain: tuple[Actor, ...] = ()  # the further actors that train at once with the policy
    average: dict[str, Any] = {}  # learner -> what is kept of its weights for their mean, of those that have one
    best: Params = None  # the best policy that the step's judge has seen, where one is kept
    doubled: tuple[Params, ...] = ()  # of an attempt by step doubling: where it began, and after its one large step

    @property
    def policies(self) -> tuple[Params, ...]:
        """The policy, and those of the further actors of a concurrent chain."""
        return self.policy, *(actor.policy for actor in self.chain)


class Stage(NamedTuple):
    """One Euler step of the schedule, or a chain of them that train at once."""

    label: str
    updates: int
    learn: tuple[str, ...]
    enter: Callable[[Any, State, Batch, Key], State]  # numbers, state, data, key: re-centre, fresh optimisers
    update: Callable[..., tuple[State, dict]]  # numbers, state, batch, key, index, and the behaviour's batch or None
    actor_gradient: Callable[[Any, State, Batch, Key], tuple[Params, dict]]  # the policy's part of an update
    measure: Callable[[Any, State, Batch, Key], dict]  # numbers of the policy and the critic on a set of states
    source: int  # the first repetition of the same step, whose compiled functions serve this one
    step: Any  # what the spec says of the step
    chain: tuple[Stage, ...] = ()  # of a concurrent chain: its steps, as they are measured and reported
    policy: Any = None  # the family of its policy, as it is saved
    entry: int = 0  # the repetition whose compiled `enter` serves this one: the first, or the first that takes over
    beside: Any = None  # a function of the policy beside its reference -> one of numbers, state, data and key

    @property
    def batches(self) -> int:
        """Minibatches that an update draws: the behaviour may have one of its own."""
        return 1 + ("behavior" in self.learn and self.step.behavior_batch == "own")

    @property
    def actors(self) -> tuple[Stage, ...]:
        """The steps that train here, each with a policy of its own."""
        return self.chain or (self,)


class Program(NamedTuple):
    """What a spec compiles to."""

    space: Space
    numbers: Any  # the leaves: every float of the spec that changes no shape
    init: Callable[[Any, Key], State]  # numbers, key
    stages: tuple[Stage, ...]
    policy: Any
    behavior: Any

    def __repr__(self) -> str:
        lines = [f"{label}  {updates} updates; learns {learns}" for label, updates, learns in self._rows()]
        return "\n  ".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        return html_table(["stage", "updates", "learns"], self._rows(), self._title())

    def _title(self) -> str:
        of = f"{self.space.obs_dim} observations, {self.space.act_dim} actions"
        family = type(self.policy).__name__.removesuffix("Policy")
        count = f"{len(self.steps)} step{'s'[: len(self.steps) > 1]}"
        return f"Program of {count}: {family}, {of}; `init`, and `enter` and `update` of each stage"

    def _rows(self) -> list[list[str]]:
        return [[stage.label, f"{stage.updates:,}", ", ".join(stage.learn)] for stage in self.stages]

    def family(self, label: str) -> Any:
        """The family of a policy of a run: behavior, or that of a step."""
        label = label.removesuffix(LAST)
        if label == "behavior":
            return self.behavior
        return next(step.policy for step in self.steps if step.label == label)

    @property
    def steps(self) -> tuple[Stage, ...]:
        """All steps with their repetitions, as `numbers` has them."""
        return tuple(step for stage in self.stages for step in stage.actors)

    def numbers_of(self, number: int) -> Any:
        """The numbers under which the functions of a stage's source and entry are those of the stage itself."""
        stage, numbers = self.stages[number], list(self.numbers)
        for index in (stage.source, stage.entry):
            numbers[index] = self.numbers[number]
        return tuple(numbers)


def together(labels: Sequence[str]) -> str:
    """Labels of steps that follow each other as one: step 1, or steps 2 to 20."""
    first, last = labels[0], labels[-1]
    if len(labels) == 1:
        return first
    number = first.removeprefix("step ")
    return f"steps {number} to {last.removeprefix('step ')}" if number.isdigit() else f"{first} to {last}"
