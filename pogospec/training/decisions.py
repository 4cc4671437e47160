"""What is decided between chunks: where one stops, what is due there, which steps are taken back, when a stage ends.

Functions of the spec, of where the run is and of what was measured; they compute nothing on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pogospec.compiler.program import Stage
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.schedule import Backtracking
from pogospec.steps.until import History
from pogospec.training.place import Place, arrays

FIRST = 100
"""Updates of a stage's first chunk: short, so that numbers and an estimate of the time come soon."""


def next_stop(spec: Spec, stage: Stage, done: int) -> int:
    """The update at which the next chunk of a stage stops: where something is due, or the stage is at its bound."""
    marks = [spec.train.log_every, spec.evaluate.every, spec.train.checkpoint_every]
    marks += [] if stage.step.until is None else [stage.step.until.every]
    first = (FIRST,) if done < FIRST and spec.target is None else ()
    return min(stage.updates, *first, *(done - done % mark + mark for mark in marks))


def needs_error(spec: Spec) -> bool:
    """Whether a step size is chosen by what is known beyond its standard error."""
    rules = [backtracking_of(step) for step in spec.schedule.steps]
    return any(rule is not None and rule.errors > 0 for rule in rules)


ERRORS = 1.645
"""Standard errors by which the proximal inequality must fail to be told: of what just holds, one in 20 is."""
ROUNDINGS = 16
"""Roundings of an energy, beyond which a difference of two is one."""


class Due(NamedTuple):
    """What is due where a chunk has stopped."""

    check: bool  # the rule of the stage looks at what is measured
    score: bool  # policies are measured and rolled out
    checkpoint: bool


def due_at(spec: Spec, stage: Stage, stop: int) -> Due:
    """What is due after `stop` updates of a stage; what its end brings is not counted."""
    rule, inside = stage.step.until, stop < stage.updates
    return Due(
        check=rule is not None and stop % rule.every == 0,
        score=inside and stop % spec.evaluate.every == 0 and "policy" in stage.learn,
        checkpoint=inside and stop % spec.train.checkpoint_every == 0,
    )


def measured_at_start(spec: Spec, stage: Stage) -> bool:
    """Whether the beginning of a stage must be measured: where a rule compares with it, or Q is known."""
    return spec.target is not None or stage.step.until is not None or backtracking_of(stage.step) is not None


def settled(stage: Stage, history: History) -> bool:
    """Whether the stage may end before its bound, by the rule that it has, with every seed."""
    return bool(stage.step.until.settled(history).all())


def backtracking_of(step: StepSpec) -> Backtracking | None:
    """The rule that chooses the step size by trial, where a step has one."""
    taus = [term.tau for term in step.proximal or ()] or [step.tau]
    return next((tau for tau in taus if isinstance(tau, Backtracking)), None)


def violated(found: dict[str, np.ndarray], rounding: float) -> dict[str, np.ndarray]:
    """Whether the proximal inequality fails beyond its error, [seeds] of 1 and 0; NaN where the error is unknown.

    `rounding`: that of the numbers of the run, relative.
    """
    if "gap" not in found:
        return {}
    size = np.maximum(np.abs(found["objective"]), np.abs(found["reference_energy"]))
    beyond = found["gap"] - ERRORS * found["gap_error"] - ROUNDINGS * rounding * size
    return {"violated": np.where(np.isnan(beyond), np.nan, beyond > 0)}


class Trial(NamedTuple):
    """What became of the step sizes that were tried, [seeds] each."""

    tried: np.ndarray  # the seed had no step accepted before
    holds: np.ndarray  # the proximal inequality holds beyond its error
    failed: np.ndarray  # tried, and it does not
    spent: np.ndarray  # failed, and there is no further try

    def notes(self, stage: Stage, rule: Backtracking, found: dict[str, np.ndarray]) -> Iterator[str]:
        """A sentence for each seed whose step is taken back."""
        for seed in np.flatnonzero(self.failed):
            tau, gap, error = (float(found[name][seed]) for name in ("tau", "gap", "gap_error"))
            then = "the policy stays" if self.spent[seed] else f"trying tau = {tau * rule.factor:.4g}"
            beyond = "" if np.isnan(error) else f" ± {error:.2g}"
            why = f"tau = {tau:.4g} rejected (inequality {gap:.3g}{beyond})"
            yield f"{stage.label}, seed {seed}: {why}; {then}"


def judge(rule: Backtracking, place: Place, found: dict[str, np.ndarray]) -> Trial:
    """Accept the step of each seed that still tries, or take it back, to a smaller step size or for good.

    `place` follows: flow time where a step is accepted, tries, and who is stuck once no seed tries any further.
    """
    tried = ~np.asarray(place.accepted)
    margin = rule.errors * found["gap_error"] if rule.errors else 0.0  # the error of one episode is not a number
    holds = found["gap"] + margin < 0
    failed = tried & ~holds
    tries = np.asarray(place.tries) + failed
    spent = failed & (tries >= rule.tries)
    place.flow_time = (np.asarray(place.flow_time) + np.where(tried & holds, found["tau"], 0.0)).tolist()
    place.tries, place.accepted = tries.tolist(), (~failed | spent).tolist()
    if all(place.accepted):
        place.stuck = spent.tolist()
    return Trial(tried, holds, failed, spent)


def take(place: Place, found: dict[str, np.ndarray]) -> None:
    """Take a step whose size is given."""
    if "tau" in found:
        place.flow_time = (np.asarray(place.flow_time) + found["tau"]).tolist()


def remember_end(place: Place, found: dict[str, np.ndarray]) -> None:
    """Remember what the policy of a repetition came to."""
    if "energy" in found:
        place.ends.setdefault("objective", []).append(found["energy"].tolist())


def last_repetition(stages: Sequence[Stage], place: Place) -> bool:
    """Whether no further repetition of the step that the run is in follows."""
    stage, following = stages[place.number], place.number + 1
    if following >= len(stages) or stages[following].source != stage.source or all(place.stuck or [False]):
        return True
    rule = stage.step.repeat_until
    return rule is not None and bool(rule.settled(arrays(place.ends)).all())


def checkpoint_at_end(spec: Spec, stages: Sequence[Stage], place: Place) -> bool:
    """Whether the end of a stage is saved: where an update at which one is due lies within it, or the step is over."""
    return place.total % spec.train.checkpoint_every < place.done or last_repetition(stages, place)


def leave(stages: Sequence[Stage], place: Place) -> bool:
    """Go to the next repetition, or past the last; whether repetitions are left out."""
    source, number, last = stages[place.number].source, place.number, last_repetition(stages, place)
    following = [n for n in range(number + 1, len(stages)) if not last or stages[n].source != source]
    left_out = last and number + 1 < len(stages) and stages[number + 1].source == source
    place.enter(following[0] if following else len(stages))
    if last:
        place.ends = {}
    return left_out
