"""What becomes of policies: they are rolled out, their returns written and told, and at the end of a stage saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pogospec.compiler.program import Stage, State
from pogospec.spec.schema import Spec
from pogospec.training.cells import Cells
from pogospec.training.events import Event, Scored
from pogospec.training.rollout import Evaluator
from pogospec.types import Dataset


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

    def score(self, stage: Stage, state: State, total: int) -> None:
        """Score the policies that a stage learns, after `total` updates of the run."""
        for actor, network in zip(stage.actors, state.policies, strict=True):
            self._score(actor.label, network, actor, total)

    def finish(self, stage: Stage, state: State, total: int) -> None:
        """Save and score what a stage has learned, in this order: an environment that fails takes no policy along."""
        if "behavior" in stage.learn:
            self.cells.save("behavior", state.behavior)
        if "policy" in stage.learn:
            for actor, network in zip(stage.actors, state.policies, strict=True):
                self.cells.save(actor.label, network)
            self.score(stage, state, total)
        if "behavior" in stage.learn:
            self._score("behavior", state.behavior, stage.actors[0], total)

    def close(self) -> None:
        """Close the environments."""
        if self.evaluator is not None:
            self.evaluator.close()

    def _score(self, label: str, network: Any, stage: Stage, total: int) -> None:
        if self.evaluator is None:
            return
        act = self.cells.acting(label, network, self.spec.evaluate.action)
        returns = self.evaluator.rollout(act, self.spec.seeds * len(self.cells.going()))
        scores = None if self.reference is None else self.reference.score(returns)
        self.cells.write_returns(label, total, returns, stage.label)
        self.on_event(Scored(label, total, returns, scores))
