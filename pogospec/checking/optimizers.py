"""Optimisers: what may go on with the state of an earlier step, and which weights can be averaged."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.averaging import Window


def optimizer_rules(spec: Spec, index: int, earlier: set[str], where: str) -> Problems:
    """What a step that keeps the state of its optimisers needs: an earlier one, of the same kind."""
    steps = spec.schedule.steps
    step = steps[index]
    if step.optimizer_state == "reset":
        return
    if step.repeat == 1 and not earlier & set(step.learn):
        yield f"{where}.optimizer_state", "found 'keep', but no earlier step learns the same; allowed reset"
    for name in step.learn:
        before = [_shape(getattr(other.optimizer, name)) for other in steps[:index] if name in other.learn]
        if before and before[-1] != _shape(getattr(step.optimizer, name)):
            yield (
                f"{where}.optimizer_state",
                f"found 'keep', but the optimiser of the {name} is of another kind than before; allowed reset",
            )


def _shape(optimizer: Any) -> tuple:
    """What decides the structure of an optimiser's state."""
    return type(optimizer), getattr(optimizer, "decay", None)


def average_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What averaged weights need: weights, and as many updates of them as the window has."""
    for name in step.learn:
        law = getattr(getattr(step.optimizer, name), "average", None)
        place = f"{where}.optimizer.{name}.average"
        if law is None:
            continue
        if name == "policy" and spec.policy.borrows:
            text = "found an average, but particles have no weights; average those of critic and behavior, which they"
            yield place, f"{text} see, or remove it"
        updates = step.policy_updates(step.updates) if name == "policy" else step.updates
        if isinstance(law, Window) and law.window > updates:
            times = f"the {name} updates {updates:,} times in this step"
            yield f"{place}.window", f"found {law.window:,}, but {times}; allowed 1 to {updates:,}"
