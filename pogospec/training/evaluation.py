"""What becomes of policies: they are rolled out, their returns written and told, and at the end of a stage saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pogospec.compiler.averages import averaged, averages
from pogospec.compiler.program import Stage, State
from pogospec.runs.columns import LAST
from pogospec.spec.schema import Spec
from pogospec.training.cells import Cells
from pogospec.training.events import Event, Scored
from pogospec.training.rollout import Evaluator
from pogospec.types import Dataset

Named = tuple[str, Any, Stage]
"""A label, the networks of all runs, and the step that learned them."""


class Evaluation:
    """Scores the policies of all runs in one vector environment, and saves them.

    Without an environment nothing is scored. A missing or wrong one is found here, before any training: raises
    TaskError.
    """

    def __init__(self, spec: Spec, dataset: Dataset, cells: Cells, on_event: Callable[[Event], None]):
        self.spec, self.reference, self.cells, self.on_event = spec, dataset.reference, cells, on_event
        self.evaluator = None
        if dataset.environment is not None:
            rollouts = spec.evaluate.episodes, spec.evaluate.seed
            self.evaluator = Evaluator(dataset.environment, *rollouts, dataset.space)
            self.evaluator.check()
        self._averaged = cells.batching.jit(averaged, (0,))

    def score(self, stage: Stage, state: State, total: int) -> None:
        """Score the policies that a stage learns, after `total` updates of the run."""
        for label, network, actor in self._policies(stage, state):
            self._score(label, network, actor, total)

    def finish(self, stage: Stage, state: State, total: int) -> None:
        """Save and score what a stage has learned, in this order: an environment that fails takes no policy along."""
        behaviors = self._behaviors(stage, state) if "behavior" in stage.learn else []
        policies = self._policies(stage, state) if "policy" in stage.learn else []
        for label, network, _ in [*behaviors, *policies]:
            self.cells.save(label, network)
        for label, network, actor in [*policies, *behaviors]:
            self._score(label, network, actor, total)

    def _policies(self, stage: Stage, state: State) -> list[Named]:
        """The policies that a stage learns; after one whose weights are averaged the last weights too."""
        means, found = self._means(state), []
        for number, actor in enumerate(stage.actors):
            found.append((actor.label, means.policies[number], actor))
            if averages(state, number):
                found.append((actor.label + LAST, state.policies[number], actor))
        return found

    def _behaviors(self, stage: Stage, state: State) -> list[Named]:
        """The behaviour, likewise."""
        first = stage.actors[0]
        last = [("behavior" + LAST, state.behavior, first)] if "behavior" in state.average else []
        return [("behavior", self._means(state).behavior, first), *last]

    def _means(self, state: State) -> State:
        """The state of all runs with averaged weights; as it is where none are averaged."""
        if not state.average and not any(actor.average for actor in state.chain):
            return state
        return self._averaged(state)

    def close(self) -> None:
        """Close the environments."""
        if self.evaluator is not None:
            self.evaluator.close()

    def _score(self, label: str, network: Any, stage: Stage, total: int) -> None:
        if self.evaluator is None:
            return
        act = self.cells.acting(label, network, self.spec.evaluate.action)
        returns = self.evaluator.rollout(act, self.spec.seed_count * len(self.cells.going()))
        scores = None if self.reference is None else self.reference.score(returns)
        self.cells.write_returns(label, total, returns, stage.label)
        self.on_event(Scored(label, total, returns, scores))
